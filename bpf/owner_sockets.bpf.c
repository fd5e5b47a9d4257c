// Which connections containers still have, by their sockets: run by the daemon, attached to nothing. A socket is a
// witness that nobody outside can forge: what resets, FINs and silence say of a connection, it confirms or denies.
#include "lib/nat/owner_socket.h"

struct nk_socket_questions {
	struct __sk_buff *skb;
	__u32 answered;
};

// A callback of bpf_loop: 1 ends it.
static long nk_answer_question(__u32 index, struct nk_socket_questions *questions)
{
	__u32 offset = ETH_HLEN + index * sizeof(struct nk_socket_question);
	struct nk_socket_question question;

	if (bpf_skb_load_bytes(questions->skb, offset, &question, sizeof(question)))
		return 1;
	question.answer = nk_container_has_connection(questions->skb, &question);
	if (bpf_skb_store_bytes(questions->skb, offset, &question, sizeof(question), 0))
		return 1;
	questions->answered = index + 1;
	return 0;
}

// Returns how many questions it answered.
SEC("tc")
int owner_sockets(struct __sk_buff *skb)
{
	struct nk_socket_questions questions = {.skb = skb};

	bpf_loop(NK_SOCKET_QUESTIONS, nk_answer_question, &questions, 0);
	return questions.answered;
}
