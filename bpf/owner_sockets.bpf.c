// Which connections containers still have, by their sockets: run by the daemon, attached to nothing. A socket is a
// witness that nobody outside can forge: what resets, FINs and silence say of a connection, it confirms or denies.
#include "lib/items.h"
#include "lib/nat/owner_socket.h"

static long nk_answer_question(__u32 index, struct nk_items *items)
{
	struct nk_socket_question question;

	if (!nk_read_item(items, index, &question, sizeof(question)))
		return 1;
	question.answer = nk_container_has_connection(items->skb, &question);
	return !nk_answer_item(items, index, &question, sizeof(question));
}

// Returns how many it has answered.
SEC("tc")
int owner_sockets(struct __sk_buff *skb)
{
	struct nk_items items = {.skb = skb};

	bpf_loop(NK_SOCKET_QUESTIONS, nk_answer_question, &items, 0);
	return items.answered;
}
