// The protocol between the doors (hook, netkitctl, later CNI, NRI and netavark) and the daemon.
//
// Unix SOCK_SEQPACKET at /run/netkitd/netkitd.sock: one JSON message each way, at most kMaxMessageBytes, then the
// connection ends. A request may carry descriptors by SCM_RIGHTS, in the order its `fds` array names them.
//
//   request  {"version":1,"op":"attach","fds":["netns","pidfd"],"id":"…","pid":1234,"annotations":{"io.netkitd.…":"…"}}
//            {"version":1,"op":"detach","id":"…"}          its endpoint ends
//            {"version":1,"op":"stopped","id":"…"}         it does unless others live in the container's network
//            namespace
//            {"version":1,"op":"status"} "endpoint-list"   {"version":1,"op":"endpoint-show","id":"…"}
//            {"version":1,"op":"port-list"}
//            {"version":1,"op":"flow-list"}   {"version":1,"op":"flow-flush","all":true}   and either with
//            "filter":{"endpoint":"web","proto":"tcp","destination":"198.51.100.0/24","port":443}, some of it
//   reply    {"version":1,"ok":true,"result":{…}}
//            {"version":1,"ok":false,"error":{"code":"refused","message":"…"}}      code: netkitd::ErrorKind
//
// A reply that is longer goes in a memory file: the message is then the word memfd, with one descriptor
// (ipc/message.h). The daemon parses strictly: an unknown op, key or version, a missing or superfluous descriptor is an
// error. pid and pidfd come together or not at all: a number alone could name another process by the time it is read.
// The result of each operation is an object whose keys are stable: netkitctl --json prints it as it is.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/ip_addr.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace netkitd::ipc {

inline constexpr int kProtocolVersion = 1;
inline constexpr std::size_t kMaxMessageBytes = 64UL * 1024;
inline constexpr std::size_t kMaxDescriptors = 2;
inline constexpr std::size_t kMaxIdBytes = 256;
inline constexpr std::size_t kMaxAnnotations = 32;
inline constexpr std::size_t kMaxAnnotationBytes = 4096;  // key and value together
inline constexpr std::string_view kDefaultSocketPath = "/run/netkitd/netkitd.sock";

enum class Operation {
    attach,
    detach,
    stopped,
    status,
    endpoint_list,
    endpoint_show,
    port_list,
    flow_list,
    flow_flush
};

// Which flows: those that have all of what is given.
struct FlowSelection {
    // A container's id or the beginning of it, an endpoint's number or address.
    std::optional<std::string> endpoint{};
    std::optional<std::uint8_t> protocol{};
    std::optional<IpPrefix> destination{};
    std::optional<std::uint16_t> port{};  // the destination's
    bool hosts = false;                   // of the host and other NATs on it alone; flow_list

    [[nodiscard]] bool is_everything() const { return *this == FlowSelection(); }
    bool operator==(const FlowSelection&) const = default;
};

struct Request {
    Operation operation{};
    std::string id{};  // attach, detach, stopped: the container's id; endpoint_show: as FlowSelection's endpoint
    std::optional<std::int32_t> pid{};                 // attach: what the pidfd stands for, in the host's view
    std::map<std::string, std::string> annotations{};  // attach: only io.netkitd.*
    FlowSelection flows{};                             // flow_list, flow_flush
    bool all = false;                                  // flow_flush: every flow, instead of a selection
    UniqueFd netns{};                                  // attach: always
    UniqueFd pidfd{};                                  // attach: where there is a process
};

// What an id is made of: a container's id, a name given by hand. [A-Za-z0-9][A-Za-z0-9_.+-]*, at most kMaxIdBytes, so
// that it can stand in a path, a unit name or a log line as it is.
[[nodiscard]] Result<void> check_id(std::string_view id);

// The JSON of a request; its descriptors travel beside it, in the order of the "fds" key.
[[nodiscard]] Result<std::string> encode_request(const Request& request);
// The request's descriptors in that order, borrowed.
[[nodiscard]] std::vector<int> descriptors_of(const Request& request);
// `descriptors` are those that came with the message; they are consumed, also on error.
[[nodiscard]] Result<Request> decode_request(std::string_view message, std::vector<UniqueFd> descriptors);

[[nodiscard]] std::string encode_reply(const Result<nlohmann::json>& result);
[[nodiscard]] Result<nlohmann::json> decode_reply(std::string_view message);

}  // namespace netkitd::ipc
