// The kernel's own view of the packet, for what __sk_buff does not show: how far its checksum is.
#pragma once

#include <bpf/bpf_core_read.h>

#include "base.h"
#include "csum.h"

// The members that are read; CO-RE finds them in the running kernel's struct (include/linux/skbuff.h).
struct sk_buff {
	__u8 ip_summed : 2;
	__u16 csum_start; // from `head`
	unsigned char *head;
	unsigned char *data;
} __attribute__((preserve_access_index));

extern void *bpf_cast_to_kern_ctx(void *) __ksym;

// PARTIAL is about the transport header at `l4_offset` only: of a tunnel that the container made, the kernel leaves the
// inner checksum to the device, and the outer one is complete.
static __always_inline enum nk_summed nk_summed(struct __sk_buff *skb, __u32 l4_offset)
{
	const struct sk_buff *kernel = bpf_cast_to_kern_ctx(skb);
	enum nk_summed summed = BPF_CORE_READ_BITFIELD(kernel, ip_summed);

	if (summed == NK_SUMMED_PARTIAL && kernel->head + kernel->csum_start != kernel->data + l4_offset)
		return NK_SUMMED_NONE;
	return summed;
}
