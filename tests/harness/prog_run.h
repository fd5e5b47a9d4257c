// A node with the programs loaded, and BPF_PROG_TEST_RUN on them: a packet in, a verdict, a packet and counters out.
//
// The node lives in a network namespace of its own, with real devices, addresses, routes and neighbours, so that
// bpf_fib_lookup() and the socket look-ups give real answers:
//
//   uplinks     eth0   203.0.113.2/24, 2001:db8:113::2/64, default routes via .1 and ::1, whose MAC is known
//               eth1   no address
//   network 0   10.77.0.0/16, 2001:db8:77::/64, gateways .0.1 and ::1, masqueraded:
//               web .0.2 and ::2 on nkweb, db .0.3 and ::3 on nkdb
//   network 1   10.88.0.0/24, 2001:db8:88::/64, routed: routed .2 and ::2 on nkrouted
//   192.0.2.x, 2001:db8:2::x   one route for each answer that the FIB can give (see prog_run.cpp)
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "abi.h"
#include "base/result.h"
#include "datapath/frontends.h"
#include "harness/netns.h"
#include "harness/packet.h"

struct netkitd_bpf;
struct bpf_link;
struct bpf_map;
struct bpf_program;

namespace netkitd::test {

enum class Program { netkit_peer, veth_ingress, uplink_ingress, uplink_egress, host_egress, loopback_egress };
[[nodiscard]] std::string_view to_string(Program program);

// `pass` is TCX_NEXT, and NETKIT_PASS in netkit_peer: the packet goes on to the host's stack (or out, on egress).
enum class Verdict { pass, drop, redirect };
std::ostream& operator<<(std::ostream& out, Verdict verdict);

// One masqueraded flow, as a test names it; IPv6 if its addresses are.
struct Flow {
    std::uint8_t protocol = 6;
    std::string source = "10.77.0.2";
    std::uint16_t source_port = 50000;
    std::string destination = "198.51.100.1";
    std::uint16_t destination_port = 443;
    std::string translated = "203.0.113.2";
    std::uint16_t translated_port = 50000;
    std::uint32_t endpoint_id = 1;
    std::string uplink = "eth0";
    std::uint32_t forward_flags = 0;  // enum nk_flow_flag
    std::uint32_t reverse_flags = 0;
};

// Whether a reply was seen (NK_FLOW_ANSWERED).
enum class Stage { fresh, established };

// Of the endpoint with number zero; of others, as many more.
inline constexpr std::uint32_t kFirstEndpointsHome = 7;

struct RunOptions {
    std::uint32_t gso_size = 0;
    std::uint32_t mark = 0;
    std::string came_in_by = {};  // the device; empty: it is the host's own
    // As from a device that sums the whole packet (CHECKSUM_COMPLETE); the kernel then checks that the programs keep
    // the sum right. ErrorKind::unsupported on kernels before 6.15.
    bool checksum_complete = false;
};

struct RunResult {
    Verdict verdict{};
    Bytes packet;
    std::map<std::string, std::uint64_t> counted;  // packets, by the counter's name; only what changed
    std::chrono::nanoseconds took{};               // as the kernel measured it
};

class TestNode {
public:
    struct Options {
        std::uint32_t flow_entries = 1024;  // of each family; a flow has two
        std::uint16_t port_first = 49152;
        std::uint16_t port_last = 65535;
        // Whether that program is loaded too: the verifier takes as long for it as for all the others.
        bool netkit_peer = false;
        bool loopback_egress = false;  // likewise
    };
    // Makes the devices above in `home`, which is empty and the calling thread's own. The verifier's log is in the
    // error. Programs that a former node of this process loaded with such maps are used again, their maps empty: to
    // load them takes most of a second, and in a VM ten.
    [[nodiscard]] static Result<TestNode> create(const NetworkNamespace& home, const Options& options);
    TestNode(TestNode&&) noexcept;
    TestNode& operator=(TestNode&&) = delete;
    TestNode(const TestNode&) = delete;
    TestNode& operator=(const TestNode&) = delete;
    ~TestNode();

    // As after create(): no flows, the settings of `options` (the maps keep their sizes).
    void reset(const Options& options) const;

    // `device`: that the packet leaves (a container's host end) or that it comes in on.
    [[nodiscard]] Result<RunResult> run(Program program, std::string_view device, const Packet& packet,
                                        const RunOptions& options = {}) const;
    // The same of a frame as it is, for a million of them: what comes out is put into `out`, nothing is counted.
    struct FrameResult {
        Verdict verdict{};
        std::chrono::nanoseconds took{};
    };
    [[nodiscard]] Result<FrameResult> run_frame(Program program, std::uint32_t ifindex,
                                                std::span<const std::uint8_t> frame, Bytes& out,
                                                const RunOptions& options = {}) const;

    // Real packets: the program runs for what passes this device, until the node goes away.
    [[nodiscard]] Result<void> attach(Program program, std::string_view device);
    // Packets, by the counter's name; only what is not zero.
    [[nodiscard]] std::map<std::string, std::uint64_t> counted() const;

    // Those that containers send out by: eth0 and eth1 at first.
    void set_uplinks(const std::vector<const char*>& devices) const;
    // One of them: behind it are this host's containers alone.
    void set_inner_bridge(const char* device) const;
    // A destination that is not masqueraded, like 198.51.100.0/24.
    [[nodiscard]] Result<void> add_non_masquerade(std::string_view text) const;
    // The host's, although in a network's prefix.
    [[nodiscard]] Result<void> add_host_prefix(std::string_view text) const;
    // New flows that needed more than one try for a port: enum nk_port_tries.
    [[nodiscard]] std::vector<std::uint64_t> port_tries() const;
    [[nodiscard]] Result<void> add_endpoint(std::string_view address, std::string_view device, std::uint32_t id,
                                            nk_device_mode mode = NK_DEVICE_VETH) const;
    // From now on `endpoint_id`, which has the container's address, is known as one with published ports.
    [[nodiscard]] Result<void> publish(const datapath::Frontend& frontend) const;
    [[nodiscard]] Result<void> take_back(const datapath::Frontend& frontend) const;
    // As if its container were gone.
    [[nodiscard]] Result<void> end(const datapath::Frontend& frontend) const;
    [[nodiscard]] Result<void> insert(Stage stage, nk_flow_direction direction, const Flow& flow) const;
    // Both halves.
    [[nodiscard]] Result<void> insert(Stage stage, const Flow& flow) const;
    [[nodiscard]] Result<void> erase(nk_flow_direction direction, const Flow& flow) const;
    // Empties the tables of flows, of which no program hears.
    void lose_flows() const;
    // Both halves, as the daemon does, which has come to this one. False: it is not there.
    [[nodiscard]] Result<bool> forget(const Flow& flow, nk_flow_direction half = NK_FLOW_REVERSE) const;
    [[nodiscard]] std::optional<nk_flow> find(nk_flow_direction direction, const Flow& flow) const;
    // As its flows are counted, of both families.
    [[nodiscard]] nk_flow_counts flow_counts(std::uint32_t endpoint_id) const;
    // One line a half, sorted: "tcp 10.77.0.2:50000 > 198.51.100.1:443 from 203.0.113.2:50000 [SYN] endpoint 1 eth0".
    [[nodiscard]] std::vector<std::string> flows(Stage stage) const;
    // Of both families; an IPv4 key is widened.
    using Entry = std::pair<nk_flow6_key, nk_flow>;
    [[nodiscard]] std::vector<Entry> entries() const;
    [[nodiscard]] std::vector<Entry> entries(Stage stage) const;
    [[nodiscard]] Result<void> update(const nk_flow6_key& key, const nk_flow& value) const;

    // As if so much time had gone by since the first fragments that are remembered.
    void age_fragments(std::chrono::nanoseconds time) const;
    // Maps' descriptors, borrowed.
    [[nodiscard]] int flow_map(bool ipv6) const;
    [[nodiscard]] int flow_count_map() const;
    [[nodiscard]] int insert_flows_program() const;
    [[nodiscard]] int counter_map() const;

    // Instructions of a loaded program after the kernel's rewriting, and how many the verifier went through.
    struct ProgramSize {
        std::uint32_t instructions = 0;
        std::uint32_t verified = 0;
    };
    [[nodiscard]] Result<ProgramSize> size_of(Program program) const;
    [[nodiscard]] nk_node& settings() const;
    // Networks 0 and 1, above.
    [[nodiscard]] nk_network& network(std::size_t index, bool ipv6) const;

private:
    struct Closer {
        void operator()(netkitd_bpf* skeleton) const;
    };
    using Skeleton = std::unique_ptr<netkitd_bpf, Closer>;
    struct LinkCloser {
        void operator()(bpf_link* link) const;
    };
    using Link = std::unique_ptr<bpf_link, LinkCloser>;
    struct Loaded {
        Options options;
        Skeleton skeleton;
    };
    static std::vector<Loaded>& idle();
    [[nodiscard]] static Result<Skeleton> load(const Options& options);
    [[nodiscard]] static Skeleton take_idle(const Options& options);
    TestNode(Skeleton skeleton, const Options& options);

    [[nodiscard]] datapath::Frontends::Maps maps_of_frontends() const;
    [[nodiscard]] bpf_program* program(Program program) const;
    [[nodiscard]] int program_fd(Program program) const;
    void clear_rings() const;
    // Calls `use` with the map, and the key and value of each of its entries.
    void for_each_fragment(const std::function<void(int, const Bytes&, Bytes&)>& use) const;

    Options options_;
    Skeleton skeleton_;
    std::vector<Link> links_;
    mutable datapath::Frontends frontends_;  // what is in the maps: reset() empties them
};

// Addresses on the wire of the test node's devices.
inline constexpr Mac kUplinkMac{0x02, 0, 0, 0, 0, 0x10};
inline constexpr Mac kRouterMac{0x02, 0, 0, 0, 0, 0x01};
// Nobody's: a test writes it into a flow, to see whether a program believes that.
inline constexpr Mac kWrongMac{0x02, 0, 0, 0, 0, 0xee};
inline constexpr Mac kContainerMac{0x02, 0, 0, 0, 0x77, 0x01};  // every container's own end
inline constexpr Mac kHostEndMac{0x02, 0, 0, 0, 0x77, 0x02};    // every container's host end

[[nodiscard]] nk_addr to_nk_addr(std::string_view text);

// The identification that the node gives to the first fragmented packet to an IPv4 destination. The secret that it is
// made with is always the same in a test node.
[[nodiscard]] std::uint16_t first_fragment_id(std::string_view destination);

// Every counter's name, and whether it is a drop.
struct CounterName {
    std::uint32_t number = 0;
    std::string name;
    bool is_drop = false;
};
[[nodiscard]] std::vector<CounterName> counter_names();

}  // namespace netkitd::test
