#include "datapath/frontends.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <iterator>
#include <ranges>
#include <type_traits>

#include "base/format.h"
#include "base/ip_protocol.h"
#include "base/monotonic.h"
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

nk_address_key address_key(const IpAddr& address) {
    return {.addr = to_nk_addr(address), .family = family_number(address.family())};
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

__u64& port_word(nk_published& published, nk_published_table table, std::uint16_t port) {
    return std::span(std::span(published.ports)[table])[port / NK_PORTS_IN_WORD];
}

__u64& place_word(nk_published& published, std::uint32_t place) {
    return std::span(published.places)[place / NK_PORTS_IN_WORD];
}

void set_bit(__u64& word, std::uint32_t bit) {
    store(word, word | __u64{1} << bit % NK_PORTS_IN_WORD);
}

void clear_bit(__u64& word, std::uint32_t bit) {
    store(word, word & ~(__u64{1} << bit % NK_PORTS_IN_WORD));
}

bool is_loopback(const Frontend& frontend) {
    return frontend.address && frontend.address->is_loopback();
}

// As in bpf/lib/nat/ports.h.
std::uint32_t place_of(const IpAddr& address, const Frontend& frontend) {
    const nk_addr addr = to_nk_addr(address);
    const std::span words(addr.word);
    const std::uint64_t folded = words[0] ^ words[1] ^ words[2] ^ words[3];
    const std::uint64_t port = std::uint64_t{frontend.protocol} << 16 | htons(frontend.port);
    return static_cast<std::uint32_t>((folded << 32 | port) * NK_PLACE_MULTIPLIER >> (64 - NK_PLACE_BITS));
}

}  // namespace

void Frontends::use_place(const IpAddr& address, const Frontend& frontend) {
    const std::uint32_t place = place_of(address, frontend);
    if (place_uses_[place]++ == 0) {
        set_bit(place_word(*maps_.published, place), place);
    }
}

void Frontends::leave_place(const IpAddr& address, const Frontend& frontend) {
    const auto use = place_uses_.find(place_of(address, frontend));
    if (use == place_uses_.end() || --use->second > 0) {
        return;
    }
    clear_bit(place_word(*maps_.published, use->first), use->first);
    place_uses_.erase(use);
}

std::vector<IpAddr> Frontends::places_of(const Frontend& frontend) const {
    if (frontend.address) {
        return {*frontend.address};
    }
    std::vector<IpAddr> places;
    for (const auto& [address, for_all] : own_) {
        if (for_all && address.family() == frontend.container.family()) {
            places.push_back(address);
        }
    }
    return places;
}

void Frontends::add_for_all(const IpAddr& address) {
    std::ranges::for_each(without_address(address.family()),
                          [&](const Frontend& frontend) { use_place(address, frontend); });
}

void Frontends::remove_for_all(const IpAddr& address) {
    std::ranges::for_each(without_address(address.family()),
                          [&](const Frontend& frontend) { leave_place(address, frontend); });
}

void Frontends::use_places(const Frontend& frontend) {
    for (const IpAddr& address : places_of(frontend)) {
        use_place(address, frontend);
    }
}

void Frontends::leave_places(const Frontend& frontend) {
    for (const IpAddr& address : places_of(frontend)) {
        leave_place(address, frontend);
    }
}

std::vector<Frontend> Frontends::without_address(IpFamily family) const {
    std::vector<Frontend> result;
    for (const Placed& placed : there_ | std::views::values) {
        if (!placed.frontend.address && placed.frontend.container.family() == family) {
            result.push_back(placed.frontend);
        }
    }
    return result;
}

void Frontends::use_port(const Frontend& frontend) {
    const nk_published_table table = table_of(frontend.protocol);
    use_places(frontend);
    if (uses_[{table, frontend.port}]++ == 0) {
        set_bit(port_word(*maps_.published, table, frontend.port), frontend.port);
    }
    store(maps_.published->count, maps_.published->count + 1);
}

void Frontends::leave_port(const Frontend& frontend) {
    const nk_published_table table = table_of(frontend.protocol);
    const auto use = uses_.find({table, frontend.port});
    if (--use->second == 0) {
        clear_bit(port_word(*maps_.published, table, frontend.port), frontend.port);
        uses_.erase(use);
    }
    store(maps_.published->count, maps_.published->count - 1);
    leave_places(frontend);
}

Frontends::Key Frontends::key_in_table(const Frontend& frontend) {
    return {frontend.address, frontend.port, frontend.protocol, frontend.container.family()};
}

Frontends::Backend Frontends::backend_of(const Frontend& frontend) {
    return {frontend.container, frontend.container_port, frontend.protocol};
}

// By which of them a container's port is known outside.
Result<void> Frontends::write_backend(const Frontend& backend, const Face& face) const {
    Frontend known = backend;
    std::tie(known.address, known.port) = face;
    const nk_service_key key = backend_key(backend);
    const nk_service_key value = frontend_key(known);
    if (bpf_map_update_elem(maps_.published_as, &key, &value, BPF_ANY) != 0) {
        return fail_errno(errno, "publish port {}", text_of(known));
    }
    return {};
}

// By its loopback nobody outside knows the host.
Result<void> Frontends::take_backend(const Frontend& frontend) {
    if (is_loopback(frontend)) {
        return {};
    }
    const Face face{frontend.address, frontend.port};
    std::vector<Face>& faces = backends_[backend_of(frontend)];
    if (faces.empty()) {
        if (Result<void> written = write_backend(frontend, face); !written) {
            backends_.erase(backend_of(frontend));
            return written;
        }
    }
    faces.push_back(face);
    return {};
}

Result<void> Frontends::leave_backend(const Frontend& frontend) {
    const auto backend = backends_.find(backend_of(frontend));
    if (backend == backends_.end()) {
        return {};
    }
    std::vector<Face>& faces = backend->second;
    const auto face = std::ranges::find(faces, Face{frontend.address, frontend.port});
    const bool was_first = face == faces.begin();
    if (face != faces.end()) {
        faces.erase(face);
    }
    if (!faces.empty()) {
        return was_first ? write_backend(frontend, faces.front()) : Result<void>();
    }
    backends_.erase(backend);
    const nk_service_key key = backend_key(frontend);
    if (bpf_map_delete_elem(maps_.published_as, &key) != 0 && errno != ENOENT) {
        return fail_errno(errno, "take back port {}", text_of(frontend));
    }
    return {};
}

Result<void> Frontends::write_frontend(const Placed& placed) const {
    const Frontend& frontend = placed.frontend;
    const nk_service_key key = frontend_key(frontend);
    const bool holds = placed.waits_until || frontend.netns_id;
    const nk_frontend value{
        .addr = to_nk_addr(frontend.container),
        .port = htons(frontend.container_port),
        .hold_s = holds ? static_cast<__u16>(frontend.hold.count()) : __u16{0},
        .endpoint_id = placed.waits_until ? NK_NO_CONTAINER : frontend.endpoint_id,
        .sources = placed.sources,
        .netns_id = frontend.netns_id.value_or(0),
        .held_until_ns = static_cast<__u64>(placed.waits_until.value_or(std::chrono::nanoseconds()).count())};
    if (bpf_map_update_elem(maps_.frontends, &key, &value, BPF_ANY) != 0) {
        if (errno == E2BIG) {
            return fail(
                ErrorKind::exhausted,
                "publish port {}: this host's containers publish {} ports by now, one of IPv4 and IPv6 counting "
                "twice, and there is room for no more",
                text_of(frontend), there_.size());
        }
        return fail_errno(errno, "publish port {}", text_of(frontend));
    }
    return {};
}

Result<void> Frontends::write(const Placed& placed) {
    NK_TRY(take_backend(placed.frontend));
    Result<void> written = write_frontend(placed);
    if (!written) {
        keep_first(written, leave_backend(placed.frontend));
    }
    return written;
}

Result<void> Frontends::give_back(const Placed& placed) {
    waiting_ -= placed.waits_until ? 1U : 0U;
    Result<void> result = placed.waits_until ? Result<void>() : leave_backend(placed.frontend);
    keep_first(result, sources_.leave(placed.sources));
    return result;
}

Result<void> Frontends::put_one(const Frontend& frontend) {
    Placed placed{.frontend = frontend,
                  .sources = NK_TRY(sources_.take(frontend.allowed, frontend.container.family()))};
    if (Result<void> written = write(placed); !written) {
        keep_first(written, sources_.leave(placed.sources));
        return written;
    }
    const auto former = there_.find(key_in_table(frontend));
    if (former == there_.end()) {
        there_.emplace(key_in_table(frontend), std::move(placed));
        use_port(frontend);
        return {};
    }
    return give_back(std::exchange(former->second, std::move(placed)));
}

bool Frontends::is_there(const Frontend& frontend) const {
    const auto known = there_.find(key_in_table(frontend));
    return known != there_.end() && !known->second.waits_until &&
           known->second.frontend.endpoint_id == frontend.endpoint_id;
}

Result<void> Frontends::take_away(const Frontend& frontend) {
    const auto known = there_.find(key_in_table(frontend));
    const Placed placed = std::move(known->second);
    there_.erase(known);
    leave_port(frontend);
    const nk_service_key key = frontend_key(frontend);
    Result<void> result;
    if (bpf_map_delete_elem(maps_.frontends, &key) != 0 && errno != ENOENT) {
        result = fail_errno(errno, "take back port {}", text_of(frontend));
    }
    keep_first(result, give_back(placed));
    return result;
}

Result<void> Frontends::remove_one(const Frontend& frontend) {
    return is_there(frontend) ? take_away(frontend) : Result<void>();
}

Result<void> Frontends::end_one(const Frontend& frontend) {
    if (frontend.hold == std::chrono::seconds::zero() || !is_there(frontend)) {
        return remove_one(frontend);
    }
    Placed& placed = there_.at(key_in_table(frontend));
    placed.waits_until = monotonic_now() + frontend.hold;
    ++waiting_;
    Result<void> written = write_frontend(placed);
    keep_first(written, leave_backend(frontend));
    return written;
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

Result<void> Frontends::end(std::span<const Frontend> frontends) {
    Result<void> result;
    for (const Frontend& frontend : frontends) {
        keep_first(result, end_one(frontend));
    }
    return result;
}

Result<void> Frontends::end_holds() {
    const std::chrono::nanoseconds now = monotonic_now();
    std::vector<Frontend> over;
    for (const Placed& placed : there_ | std::views::values) {
        if (placed.waits_until && *placed.waits_until <= now) {
            over.push_back(placed.frontend);
        }
    }
    Result<void> result;
    for (const Frontend& frontend : over) {
        keep_first(result, take_away(frontend));
    }
    return result;
}

std::set<std::uint16_t> Frontends::ports() const {
    std::set<std::uint16_t> ports;
    std::ranges::transform(uses_, std::inserter(ports, ports.end()), [](const auto& use) { return use.first.second; });
    return ports;
}

std::vector<Frontends::Held> Frontends::held() const {
    const std::chrono::nanoseconds now = monotonic_now();
    std::vector<Held> held;
    for (const auto& [frontend, sources, waits_until] : there_ | std::views::values) {
        const auto is_it = [&frontend](const Held& other) {
            return other.address == frontend.address && other.port == frontend.port &&
                   other.protocol == frontend.protocol;
        };
        if (waits_until && *waits_until > now && std::ranges::none_of(held, is_it)) {
            held.push_back({.address = frontend.address,
                            .port = frontend.port,
                            .protocol = frontend.protocol,
                            .left = std::chrono::ceil<std::chrono::seconds>(*waits_until - now)});
        }
    }
    return held;
}

bool Frontends::has_address_for_all() const {
    return std::ranges::any_of(own_ | std::views::values, std::identity{});
}

bool Frontends::any_without_connection() const {
    return std::ranges::any_of(uses_ | std::views::keys, [](const auto& use) { return use.first != NK_PUBLISHED_TCP; });
}

void Frontends::forget_others(std::span<const OwnAddress> own) {
    std::map<IpAddr, bool> gone = own_;
    std::ranges::for_each(own, [&](const OwnAddress& address) { gone.erase(address.address); });
    for (const auto& [address, for_all] : gone) {
        const nk_address_key key = address_key(address);
        bpf_map_delete_elem(maps_.own_addresses, &key);
        own_.erase(address);
        if (for_all) {
            remove_for_all(address);
        }
    }
}

// What is gone first: so there is room for others.
Result<void> Frontends::set_addresses(std::span<const OwnAddress> own) {
    addresses_left_out_ = own.size() - std::min<std::size_t>(own.size(), NK_MAX_OWN_ADDRESSES);
    own = own.first(own.size() - addresses_left_out_);
    forget_others(own);
    for (const auto& [address, for_all] : own) {
        const auto known = own_.find(address);
        if (known != own_.end() && known->second == for_all) {
            continue;
        }
        const nk_address_key key = address_key(address);
        const std::uint32_t flags = for_all ? NK_OWN_FOR_ALL : 0;
        if (bpf_map_update_elem(maps_.own_addresses, &key, &flags, BPF_ANY) != 0) {
            return fail_errno(errno, "publish ports at {}", address.to_string());
        }
        own_.insert_or_assign(address, for_all);
        if (for_all) {
            add_for_all(address);
        } else if (known != own_.end()) {
            remove_for_all(address);
        }
    }
    return {};
}

}  // namespace netkitd::datapath
