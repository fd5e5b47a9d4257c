#include "datapath/frontends.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <set>
#include <type_traits>

#include "base/format.h"
#include "base/ip_protocol.h"
#include "datapath/address.h"

namespace netkitd::datapath {
namespace {

std::uint8_t family_number(IpFamily family) {
    return family == IpFamily::v4 ? AF_INET : AF_INET6;
}

nk_service_key key_of(const std::optional<IpAddr>& address, std::uint16_t port, const Frontend& frontend) {
    return {.addr = address ? to_nk_addr(*address) : nk_addr{},
            .port = htons(port),
            .proto = frontend.protocol,
            .family = family_number(frontend.container.family())};
}

nk_service_key frontend_key(const Frontend& frontend) {
    return key_of(frontend.address, frontend.port, frontend);
}

nk_service_key backend_key(const Frontend& frontend) {
    return key_of(frontend.container, frontend.container_port, frontend);
}

nk_published_table table_of(std::uint8_t protocol) {
    switch (protocol) {
        case IPPROTO_UDP:
            return NK_PUBLISHED_UDP;
        case IPPROTO_SCTP:
            return NK_PUBLISHED_SCTP;
        default:
            return NK_PUBLISHED_TCP;
    }
}

std::string text_of(const Frontend& frontend) {
    const std::string port = formatted("{}/{}", frontend.port, protocol_name(frontend.protocol));
    return frontend.address ? formatted("{} of {}", port, frontend.address->to_string()) : port;
}

// Programs on other CPUs read these words all the while.
template <typename Word>
void store(Word& word, std::type_identity_t<Word> value) {
    std::atomic_ref(word).store(value, std::memory_order_release);
}

__u64& word_of(nk_published& published, nk_published_table table, std::uint16_t port) {
    return std::span(std::span(published.ports)[table])[port / NK_PORTS_IN_WORD];
}

constexpr __u64 bit_of(std::uint16_t port) {
    return __u64{1} << port % NK_PORTS_IN_WORD;
}

}  // namespace

void Frontends::use_port(const Frontend& frontend) {
    const nk_published_table table = table_of(frontend.protocol);
    if (uses_[{table, frontend.port}]++ == 0) {
        __u64& word = word_of(*maps_.published, table, frontend.port);
        store(word, word | bit_of(frontend.port));
    }
    store(maps_.published->count, maps_.published->count + 1);
}

void Frontends::leave_port(const Frontend& frontend) {
    const nk_published_table table = table_of(frontend.protocol);
    const auto use = uses_.find({table, frontend.port});
    if (--use->second == 0) {
        __u64& word = word_of(*maps_.published, table, frontend.port);
        store(word, word & ~bit_of(frontend.port));
        uses_.erase(use);
    }
    store(maps_.published->count, maps_.published->count - 1);
}

Result<void> Frontends::take_backend(const Frontend& frontend) {
    const nk_service_key key = frontend_key(frontend);
    const nk_service_key backend = backend_key(frontend);
    if (bpf_map_update_elem(maps_.published_as, &backend, &key, BPF_NOEXIST) != 0 && errno != EEXIST) {
        return fail_errno(errno, "publish port {}", text_of(frontend));
    }
    ++backends_[{frontend.container, frontend.container_port, frontend.protocol}];
    return {};
}

Result<void> Frontends::leave_backend(const Frontend& frontend) {
    const auto backend = backends_.find({frontend.container, frontend.container_port, frontend.protocol});
    if (backend == backends_.end() || --backend->second > 0) {
        return {};
    }
    backends_.erase(backend);
    const nk_service_key key = backend_key(frontend);
    if (bpf_map_delete_elem(maps_.published_as, &key) != 0 && errno != ENOENT) {
        return fail_errno(errno, "take back port {}", text_of(frontend));
    }
    return {};
}

Result<void> Frontends::put_one(const Frontend& frontend) {
    const nk_service_key key = frontend_key(frontend);
    const nk_frontend value{.addr = to_nk_addr(frontend.container),
                            .port = htons(frontend.container_port),
                            .reserved = 0,
                            .endpoint_id = frontend.endpoint_id};
    NK_TRY(take_backend(frontend));
    if (bpf_map_update_elem(maps_.frontends, &key, &value, BPF_ANY) != 0) {
        const int error = errno;
        NK_TRY(leave_backend(frontend));
        return fail_errno(error, "publish port {}", text_of(frontend));
    }
    const Key place{frontend.address, frontend.port, frontend.protocol, frontend.container.family()};
    const auto former = there_.find(place);
    if (former == there_.end()) {
        there_.emplace(place, frontend);
        use_port(frontend);
        return {};
    }
    const Frontend replaced = std::exchange(former->second, frontend);
    return leave_backend(replaced);
}

Result<void> Frontends::remove_one(const Frontend& frontend) {
    const Key place{frontend.address, frontend.port, frontend.protocol, frontend.container.family()};
    const auto known = there_.find(place);
    if (known == there_.end() || known->second != frontend) {
        return {};
    }
    leave_port(frontend);
    there_.erase(known);
    const nk_service_key key = frontend_key(frontend);
    if (bpf_map_delete_elem(maps_.frontends, &key) != 0 && errno != ENOENT) {
        return fail_errno(errno, "take back port {}", text_of(frontend));
    }
    return leave_backend(frontend);
}

Result<void> Frontends::put(std::span<const Frontend> frontends) {
    for (const Frontend& frontend : frontends) {
        NK_TRY(put_one(frontend));
    }
    return {};
}

Result<void> Frontends::remove(std::span<const Frontend> frontends) {
    Result<void> result;
    for (const Frontend& frontend : frontends) {
        keep_first(result, remove_one(frontend));
    }
    return result;
}

bool Frontends::has(std::uint8_t protocol) const {
    const nk_published_table table = table_of(protocol);
    return std::ranges::any_of(uses_, [&](const auto& use) { return use.first.first == table; });
}

Result<void> Frontends::set_addresses(std::span<const IpAddr> addresses) const {
    const auto key_for = [](const IpAddr& address) {
        return nk_address_key{.addr = to_nk_addr(address), .family = family_number(address.family())};
    };
    std::set<IpAddr> gone;
    nk_address_key key{};
    for (int error = bpf_map_get_next_key(maps_.addresses, nullptr, &key); error == 0;
         error = bpf_map_get_next_key(maps_.addresses, &key, &key)) {
        gone.insert(to_ip_addr(key.addr, key.family == AF_INET ? IpFamily::v4 : IpFamily::v6));
    }
    for (const IpAddr& address : addresses) {
        const nk_address_key wanted = key_for(address);
        const std::uint32_t value = 1;
        if (gone.erase(address) == 0 && bpf_map_update_elem(maps_.addresses, &wanted, &value, BPF_ANY) != 0) {
            return fail_errno(errno, "publish ports at {}", address.to_string());
        }
    }
    for (const IpAddr& address : gone) {
        const nk_address_key former = key_for(address);
        bpf_map_delete_elem(maps_.addresses, &former);
    }
    return {};
}

}  // namespace netkitd::datapath
