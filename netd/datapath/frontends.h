// Published ports, as the programs find them (bpf/lib/nat/frontend.h).
//
// Nothing of this is pinned: the programs that run keep theirs while no daemon does, and the next one's get it anew
// before they are attached.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "abi.h"
#include "base/ip_addr.h"
#include "base/result.h"
#include "datapath/source_lists.h"

namespace netkitd::datapath {

// An address of the host's.
struct OwnAddress {
    IpAddr address;
    bool for_all = false;  // what is published without an address is here too
    auto operator<=>(const OwnAddress&) const = default;
};

// Where others reach a port of a container's.
struct Frontend {
    std::optional<IpAddr> address;  // of the host's; none: each that is for all
    std::uint16_t port = 0;
    std::uint8_t protocol = 0;  // IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP
    IpAddr container;           // its family is the frontend's
    std::uint16_t container_port = 0;
    std::uint32_t endpoint_id = 0;
    std::vector<IpPrefix> allowed = {};  // who may come; none: everybody
    // How long who would connect is kept waiting for somebody who listens (bpf/lib/nat/hold.h).
    std::chrono::seconds hold{};
    std::uint32_t host_ifindex = 0;              // the endpoint's
    std::optional<std::uint32_t> netns_id = {};  // of the container, as the host's numbers it; none: nobody waits
};

class Frontends {
public:
    // What the programs read; borrowed, for the life of this.
    struct Maps {
        int frontends = -1;
        int published_as = -1;
        int own_addresses = -1;
        int allowed_sources = -1;
        nk_published* published = nullptr;
    };
    explicit Frontends(Maps maps) : maps_(maps), sources_(maps.allowed_sources) {}

    // In place of another endpoint's with the same port, if there is one: whose port it is, the caller knows. An error
    // may leave some of them.
    [[nodiscard]] Result<void> put(std::span<const Frontend> frontends);
    // Those that are there, of the same endpoint. Flows that have begun end with their next packet.
    [[nodiscard]] Result<void> remove(std::span<const Frontend> frontends);
    // remove(), as their container is gone: but those with `hold` wait for the next one, for that time.
    [[nodiscard]] Result<void> end(std::span<const Frontend> frontends);
    [[nodiscard]] bool any_waits() const { return waiting_ > 0; }
    // Removes those that have waited for too long.
    [[nodiscard]] Result<void> end_holds();
    [[nodiscard]] bool empty() const { return there_.empty(); }
    // Of whichever protocol, at whichever address.
    [[nodiscard]] std::set<std::uint16_t> ports() const;
    // A port whose container is gone, and which waits for the next one.
    struct Held {
        std::optional<IpAddr> address;
        std::uint16_t port = 0;
        std::uint8_t protocol = 0;
        std::chrono::seconds left{};
    };
    // One of both families once.
    [[nodiscard]] std::vector<Held> held() const;
    // Whether the host has an address where a port is that is published without one.
    [[nodiscard]] bool has_address_for_all() const;
    // Whether one is there of another protocol than TCP.
    [[nodiscard]] bool any_without_connection() const;
    // At others nothing is published, although a frontend may have one. 127.0.0.1 stands for all of 127.0.0.0/8. The
    // first NK_MAX_OWN_ADDRESSES of them count.
    [[nodiscard]] Result<void> set_addresses(std::span<const OwnAddress> own);
    // How many did not.
    [[nodiscard]] std::size_t addresses_left_out() const { return addresses_left_out_; }

private:
    using Key = std::tuple<std::optional<IpAddr>, std::uint16_t, std::uint8_t, IpFamily>;
    using Backend = std::tuple<IpAddr, std::uint16_t, std::uint8_t>;  // a container's port
    using Face = std::pair<std::optional<IpAddr>, std::uint16_t>;     // a frontend's address and port
    struct Placed {
        Frontend frontend;
        std::uint32_t sources = 0;  // the list's number
        // CLOCK_MONOTONIC: as far as it waits for a container; none: it leads to one
        std::optional<std::chrono::nanoseconds> waits_until = {};
    };

    [[nodiscard]] static Key key_in_table(const Frontend& frontend);
    [[nodiscard]] Result<void> put_one(const Frontend& frontend);
    [[nodiscard]] Result<void> remove_one(const Frontend& frontend);
    [[nodiscard]] Result<void> end_one(const Frontend& frontend);
    [[nodiscard]] Result<void> take_away(const Frontend& frontend);
    [[nodiscard]] bool is_there(const Frontend& frontend) const;
    [[nodiscard]] Result<void> write(const Placed& placed);
    [[nodiscard]] Result<void> write_frontend(const Placed& placed) const;
    [[nodiscard]] Result<void> give_back(const Placed& placed);
    [[nodiscard]] static Backend backend_of(const Frontend& frontend);
    [[nodiscard]] Result<void> write_backend(const Frontend& backend, const Face& face) const;
    [[nodiscard]] Result<void> take_backend(const Frontend& frontend);
    [[nodiscard]] Result<void> leave_backend(const Frontend& frontend);
    void use_port(const Frontend& frontend);
    void leave_port(const Frontend& frontend);
    // The places where it is: at its address, or at all that are for all.
    void use_places(const Frontend& frontend);
    void leave_places(const Frontend& frontend);
    [[nodiscard]] std::vector<IpAddr> places_of(const Frontend& frontend) const;
    void use_place(const IpAddr& address, const Frontend& frontend);
    void leave_place(const IpAddr& address, const Frontend& frontend);
    void forget_others(std::span<const OwnAddress> own);
    // What is published without an address comes to this one, or leaves it.
    void add_for_all(const IpAddr& address);
    void remove_for_all(const IpAddr& address);
    [[nodiscard]] std::vector<Frontend> without_address(IpFamily family) const;

    Maps maps_;
    SourceLists sources_;
    std::map<Key, Placed> there_;
    std::size_t addresses_left_out_ = 0;
    std::map<IpAddr, bool> own_;                                                  // whether it is for all
    std::map<std::pair<nk_published_table, std::uint16_t>, std::uint32_t> uses_;  // of a port's bit
    std::unordered_map<std::uint32_t, std::uint32_t> place_uses_;                 // of a place's
    std::uint32_t waiting_ = 0;                                                   // for a container
    // By which frontends a container's port is known, the first one in `published_as`.
    std::map<Backend, std::vector<Face>> backends_;
};

}  // namespace netkitd::datapath
