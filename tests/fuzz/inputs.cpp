#include "fuzz/inputs.h"

#include <fcntl.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/annotation_prefix.h"
#include "ipc/protocol.h"
#include "oci/action.h"
#include "oci/oci_state.h"

namespace netkitd::fuzz {
namespace {

void require(bool holds, const char* promise) {
    if (!holds) {
        std::fprintf(stderr, "broken promise: %s\n", promise);
        std::abort();
    }
}

// Whatever the input was, its error is one that can be shown and sent.
void check_error(const Error& error) {
    require(!error.message().empty(), "an error says something");
    require(error.message().size() < 1024, "an error does not repeat its input");
}

}  // namespace

void fuzz_request(std::string_view bytes) {
    // The first byte says how many descriptors came along.
    std::vector<UniqueFd> descriptors;
    const std::size_t count = bytes.empty() ? 0 : static_cast<unsigned char>(bytes.front()) % 3U;
    for (std::size_t i = 0; i < count; ++i) {
        descriptors.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    }
    const auto request = ipc::decode_request(bytes.substr(bytes.empty() ? 0 : 1), std::move(descriptors));
    if (!request) {
        check_error(request.error());
        return;
    }
    // A request that was accepted can be sent on, and is then the same.
    const auto text = ipc::encode_request(*request);
    require(text.has_value(), "an accepted request can be encoded");
    std::vector<UniqueFd> again;
    for (const int fd : ipc::descriptors_of(*request)) {
        again.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    }
    const auto copy = ipc::decode_request(*text, std::move(again));
    require(copy && copy->operation == request->operation && copy->id == request->id && copy->pid == request->pid &&
                copy->annotations == request->annotations && copy->flows == request->flows && copy->all == request->all,
            "encoding and decoding a request changes nothing");
}

void fuzz_reply(std::string_view bytes) {
    const auto reply = ipc::decode_reply(bytes);
    if (reply) {
        require(reply->is_object(), "a result is an object");
    }
}

void fuzz_oci_state(std::string_view bytes) {
    const auto state = hook::parse_oci_state(bytes);
    if (!state) {
        check_error(state.error());
        return;
    }
    require(!state->id.empty() && state->pid >= 0, "a state has an id and no negative pid");
    require(state->annotations.size() <= ipc::kMaxAnnotations, "annotations are bounded");
    for (const auto& [key, value] : state->annotations) {
        require(key.starts_with(kAnnotationPrefix), "only netkitd's annotations are kept");
    }
    if (const auto action = hook::decide(hook::Stage::from_state, *state); !action) {
        check_error(action.error());
    }
}

std::vector<std::string_view> request_seeds() {
    return {
        R"(2{"version":1,"op":"attach","fds":["netns","pidfd"],"id":"web","pid":42,"annotations":{"io.netkitd.mtu":"1"}})",
        R"(1{"version":1,"op":"attach","fds":["netns"],"id":"a.b-c_d"})",
        R"(0{"version":1,"op":"detach","id":"web"})",
        R"(0{"version":1,"op":"status"})",
        R"(0{"version":1,"op":"endpoint-show","id":"web"})",
        R"(0{"version":1,"op":"flow-list"})",
        R"(0{"version":1,"op":"flow-list","filter":{"endpoint":"web","proto":"tcp","destination":"fd00::/8","port":1}})",
        R"(0{"version":1,"op":"flow-flush","all":true})",
    };
}

std::vector<std::string_view> reply_seeds() {
    return {
        R"({"version":1,"ok":true,"result":{"endpoints":[{"id":"web","members":["a"]}]}})",
        R"({"version":1,"ok":false,"error":{"code":"refused","message":"no"}})",
    };
}

std::vector<std::string_view> oci_state_seeds() {
    return {
        R"({"ociVersion":"1.0","id":"web","pid":42,"root":"/r","bundle":"/b","status":"created",
            "annotations":{"io.netkitd.network":"default","other":"x"}})",
        R"({"ociVersion":"1.0.2","id":"web","status":"stopped","bundle":"/b","annotations":null})",
        R"({"x":[[{"y":[1,-2,3.5e3,true,null,"\u00e9"]}]],"id":"web","pid":0})",
    };
}

}  // namespace netkitd::fuzz
