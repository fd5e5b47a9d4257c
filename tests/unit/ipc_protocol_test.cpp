// What the daemon accepts and refuses, as text on the wire.
#include "ipc/protocol.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <netinet/in.h>

#include <nlohmann/json.hpp>

namespace netkitd::ipc {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

std::vector<UniqueFd> descriptors(std::size_t count) {
    std::vector<UniqueFd> result;
    for (std::size_t i = 0; i < count; ++i) {
        result.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    }
    return result;
}

json attach_request() {
    return json::parse(R"({"version":1,"op":"attach","fds":["netns","pidfd"],"id":"web","pid":4242,
                           "annotations":{"io.netkitd.network":"default"}})");
}

std::string refusal(std::string_view text, std::size_t fds = 0) {
    const auto request = decode_request(text, descriptors(fds));
    if (request) {
        return "accepted";
    }
    EXPECT_EQ(request.error().kind(), ErrorKind::invalid);
    return request.error().message();
}

TEST(Request, AttachCarriesEverything) {
    const auto request = decode_request(attach_request().dump(), descriptors(2));
    ASSERT_TRUE(request) << request.error().message();
    EXPECT_EQ(request->operation, Operation::attach);
    EXPECT_EQ(request->id, "web");
    EXPECT_EQ(request->pid, 4242);
    EXPECT_EQ(request->annotations.at("io.netkitd.network"), "default");
    EXPECT_TRUE(request->netns);
    EXPECT_TRUE(request->pidfd);
}

TEST(Request, AttachOfANamedNetnsHasNoProcess) {
    const auto request = decode_request(R"({"version":1,"op":"attach","fds":["netns"],"id":"web"})", descriptors(1));
    ASSERT_TRUE(request) << request.error().message();
    EXPECT_FALSE(request->pid);
    EXPECT_FALSE(request->pidfd);
}

TEST(Request, DescriptorsMayComeInAnyOrder) {
    json message = attach_request();
    message["fds"] = {"pidfd", "netns"};
    auto fds = descriptors(2);
    const int first = fds.front().get();
    const auto request = decode_request(message.dump(), std::move(fds));
    ASSERT_TRUE(request) << request.error().message();
    EXPECT_EQ(request->pidfd.get(), first);
}

TEST(Request, IsReadAsItWasWritten) {
    for (const Operation operation : {Operation::detach, Operation::stopped, Operation::status,
                                      Operation::endpoint_list, Operation::endpoint_show, Operation::flow_list}) {
        const auto text = encode_request({.operation = operation, .id = "a"});
        ASSERT_TRUE(text) << text.error().message();
        const auto request = decode_request(*text, {});
        ASSERT_TRUE(request) << request.error().message();
        EXPECT_EQ(request->operation, operation);
    }
    const Request by_address{.operation = Operation::endpoint_show, .id = "fd6e::2"};
    EXPECT_TRUE(encode_request(by_address));
    EXPECT_FALSE(encode_request({.operation = Operation::detach, .id = "fd6e::2"}));
    Request flush{.operation = Operation::flow_flush};
    flush.flows = {
        .endpoint = "web", .protocol = IPPROTO_ICMPV6, .destination = *IpPrefix::parse("2001:db8::/32"), .port = 443};
    const auto flush_text = encode_request(flush);
    ASSERT_TRUE(flush_text) << flush_text.error().message();
    const auto flush_again = decode_request(*flush_text, {});
    ASSERT_TRUE(flush_again) << flush_again.error().message();
    EXPECT_EQ(flush_again->flows, flush.flows);
    EXPECT_FALSE(flush_again->all);
    flush.flows = {};
    flush.all = true;
    EXPECT_TRUE(decode_request(encode_request(flush).value(), {})->all);
    Request attach{.operation = Operation::attach, .id = "b", .pid = 7, .annotations = {{"io.netkitd.mtu", "1400"}}};
    attach.netns = std::move(descriptors(1).front());
    attach.pidfd = std::move(descriptors(1).front());
    const auto text = encode_request(attach);
    ASSERT_TRUE(text) << text.error().message();
    EXPECT_EQ(descriptors_of(attach), (std::vector{attach.netns.get(), attach.pidfd.get()}));
    const auto request = decode_request(*text, descriptors(2));
    ASSERT_TRUE(request) << request.error().message();
    EXPECT_EQ(request->annotations, attach.annotations);
    EXPECT_EQ(request->pid, 7);
}

struct Refused {
    const char* what;
    std::string text;
    std::string reason;
};

TEST(Request, WithoutDescriptorsIsRefusedByName) {
    const std::vector<Refused> cases{
        {"empty", "", "not valid JSON"},
        {"no JSON", "hello", "not valid JSON at byte 1"},
        {"cut", R"({"version":1,"op":"sta)", "not valid JSON"},
        {"two documents", R"({"version":1,"op":"status"}{})", "not valid JSON"},
        {"text after a NUL", std::string("{\"version\":1,\"op\":\"status\"}\0x", 29), "a NUL byte"},
        {"not UTF-8", "{\"version\":1,\"op\":\"\xff\"}", "not valid UTF-8"},
        {"overlong UTF-8", "{\"version\":1,\"op\":\"\xc0\xaf\"}", "not valid UTF-8"},
        {"an array", "[]", "not a JSON object"},
        {"no version", R"({"op":"status"})", "no protocol version"},
        {"version as text", R"({"version":"1","op":"status"})", "no protocol version"},
        {"version as a fraction", R"({"version":1.0,"op":"status"})", "no protocol version"},
        {"another version", R"({"version":2,"op":"status"})", "protocol version 2, but this side speaks 1"},
        {"no op", R"({"version":1})", "no op"},
        {"op of another type", R"({"version":1,"op":["status"]})", "no op"},
        {"unknown op", R"({"version":1,"op":"reboot"})", "unknown op 'reboot'"},
        {"unknown key", R"({"version":1,"op":"status","verbose":true})", "status has no key 'verbose'"},
        {"a key of another op", R"({"version":1,"op":"detach","id":"a","pid":1})", "detach has no key 'pid'"},
        {"a key twice", R"({"version":1,"op":"detach","id":"a","id":"b"})", "the key 'id' is there twice"},
        {"no id", R"({"version":1,"op":"detach"})", "id must be a string"},
        {"id of another type", R"({"version":1,"op":"detach","id":7})", "id must be a string"},
        {"empty id", R"({"version":1,"op":"detach","id":""})", "1 to 256"},
        {"long id", R"({"version":1,"op":"detach","id":")" + std::string(257, 'a') + "\"}", "257 bytes long"},
        {"a path as id", R"({"version":1,"op":"detach","id":"../x"})", "only letters"},
        {"id with a slash", R"({"version":1,"op":"detach","id":"a/b"})", "only letters"},
        {"id with a control character", R"({"version":1,"op":"detach","id":"a\u001b[2J"})", "'a\\x1b[2J'"},
        {"a filter of another op", R"({"version":1,"op":"status","filter":{}})", "status has no key 'filter'"},
        {"all of another op", R"({"version":1,"op":"flow-list","all":true})", "flow-list has no key 'all'"},
        {"filter as text", R"({"version":1,"op":"flow-list","filter":"tcp"})", "filter must be an object"},
        {"unknown filter", R"({"version":1,"op":"flow-list","filter":{"src":"a"}})", "filter has no key 'src'"},
        {"endpoint as a number", R"({"version":1,"op":"flow-list","filter":{"endpoint":1}})",
         "filter.endpoint must be a string"},
        {"endpoint that is no id", R"({"version":1,"op":"flow-list","filter":{"endpoint":"a b"}})", "only letters"},
        {"unknown protocol", R"({"version":1,"op":"flow-list","filter":{"proto":"tpc"}})",
         "'tpc' is none of tcp, udp, "},
        {"destination without a length", R"({"version":1,"op":"flow-list","filter":{"destination":"10.0.0.1"}})",
         "filter.destination: '10.0.0.1' is not a prefix"},
        {"destination with host bits", R"({"version":1,"op":"flow-list","filter":{"destination":"10.0.0.1/8"}})",
         "host bits"},
        {"port beyond", R"({"version":1,"op":"flow-list","filter":{"port":65536}})", "filter.port must be a port"},
        {"port as text", R"({"version":1,"op":"flow-list","filter":{"port":"443"}})", "filter.port must be a port"},
        {"hosts as text", R"({"version":1,"op":"flow-list","filter":{"hosts":"yes"}})",
         "filter.hosts must be true or false"},
        {"flush of nothing", R"({"version":1,"op":"flow-flush"})", "flow-flush needs a filter, or all"},
        {"flush of an empty filter", R"({"version":1,"op":"flow-flush","filter":{}})", "needs a filter, or all"},
        {"flush of all and some", R"({"version":1,"op":"flow-flush","all":true,"filter":{"port":53}})", "not both"},
        {"all as a number", R"({"version":1,"op":"flow-flush","all":1})", "all must be true or false"},
        {"attach without fds", R"({"version":1,"op":"attach","id":"a"})", "needs a netns descriptor"},
        {"fds announced only", R"({"version":1,"op":"attach","id":"a","fds":["netns"]})",
         "1 descriptors announced, 0 received"},
        {"nested 10,000 deep", std::string(10'000, '['), "nested deeper than 2 levels"},
        {"objects 10,000 deep",
         [] {
             std::string text;
             for (int i = 0; i < 10'000; ++i) {
                 text += R"({"a":)";
             }
             return text;
         }(),
         "nested deeper than 2 levels"},
        {"too long", std::string(kMaxMessageBytes + 1, ' '), "65537 bytes long"},
    };
    for (const Refused& refused : cases) {
        EXPECT_THAT(refusal(refused.text), HasSubstr(refused.reason)) << refused.what;
    }
}

TEST(Request, AttachWithAWrongValueIsRefusedByName) {
    json many = json::object();
    for (int i = 0; i < 33; ++i) {
        many["io.netkitd." + std::to_string(i)] = "";
    }
    const std::vector<std::tuple<const char*, json, std::string>> cases{
        {"fds", {"netns", "netns"}, "once each"},
        {"fds", {"netns", "other"}, "once each"},
        {"fds", {"netns", 1}, "once each"},
        {"fds", "netns", "fds must be an array"},
        {"fds", {"netns"}, "1 descriptors announced, 2 received"},
        {"pid", 0, "pid 0 is not a process"},
        {"pid", -1, "pid must be a process id"},
        {"pid", 1.5, "pid must be a process id"},
        {"pid", 2147483648, "pid must be a process id"},
        {"pid", "1", "pid must be a process id"},
        {"annotations", json::array(), "annotations must be an object"},
        {"annotations", {{"io.netkitd.mtu", 1400}}, "annotation 'io.netkitd.mtu' must be a string"},
        {"annotations", {{"org.example.a", "b"}}, "only io.netkitd.* are netkitd's"},
        {"annotations", {{"io.netkitd.network", "a\nb"}}, "control characters"},
        {"annotations", {{"io.netkitd.network", std::string(4096, 'a')}}, "at most 4096 are allowed"},
        {"annotations", many, "33 annotations, at most 32"},
    };
    for (const auto& [key, value, reason] : cases) {
        json message = attach_request();
        message[key] = value;
        EXPECT_THAT(refusal(message.dump(), 2), HasSubstr(reason)) << message;
    }
}

TEST(Request, PidWithoutItsPidfdIsRefused) {
    EXPECT_THAT(refusal(R"({"version":1,"op":"attach","id":"a","pid":7,"fds":["netns"]})", 1), HasSubstr("together"));
    EXPECT_THAT(refusal(R"({"version":1,"op":"attach","id":"a","fds":["netns","pidfd"]})", 2), HasSubstr("together"));
}

TEST(Request, SuperfluousDescriptorIsRefused) {
    EXPECT_THAT(refusal(R"({"version":1,"op":"status"})", 1), HasSubstr("0 descriptors announced, 1 received"));
}

TEST(Request, DescriptorsOfARefusedRequestAreClosed) {
    auto fds = descriptors(1);
    const int fd = fds.front().get();
    ASSERT_FALSE(decode_request("nonsense", std::move(fds)));
    EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
}

TEST(Request, IsCheckedBeforeItIsSent) {
    EXPECT_FALSE(encode_request({.operation = Operation::detach, .id = "a b"}));
    EXPECT_FALSE(encode_request({.operation = Operation::attach, .id = "a"}));
    Request attach{.operation = Operation::attach, .id = "a", .annotations = {{"io.netkitd.network", "\xff"}}};
    attach.netns = std::move(descriptors(1).front());
    const auto text = encode_request(attach);
    ASSERT_FALSE(text);
    EXPECT_THAT(text.error().message(), HasSubstr("UTF-8"));
}

TEST(Request, ThatWouldNotFitInAMessageIsNotSent) {
    Request attach{.operation = Operation::attach, .id = "a"};
    attach.netns = std::move(descriptors(1).front());
    for (int i = 0; i < 20; ++i) {
        attach.annotations["io.netkitd." + std::to_string(i)] = std::string(4000, 'a');
    }
    const auto text = encode_request(attach);
    ASSERT_FALSE(text);
    EXPECT_THAT(text.error().message(), HasSubstr("shorten its annotations"));
}

TEST(Request, IdsOfEveryRuntimePass) {
    for (const char* id : {"4f9a1c0de3", "web-1", "a.b_c", "k8s+pod", "7"}) {
        EXPECT_TRUE(check_id(id)) << id;
    }
}

TEST(Reply, CarriesAResultOrAnErrorOfItsKind) {
    const auto result = decode_reply(encode_reply(json{{"endpoints", json::array({1, 2})}}));
    ASSERT_TRUE(result);
    EXPECT_EQ(result->at("endpoints").size(), 2U);

    const auto error = decode_reply(encode_reply(fail(ErrorKind::exhausted, "no address left in default")));
    ASSERT_FALSE(error);
    EXPECT_EQ(error.error().kind(), ErrorKind::exhausted);
    EXPECT_EQ(error.error().message(), "no address left in default");
}

TEST(Reply, WithTextThatIsNotUtf8StaysReadable) {
    const auto error = decode_reply(encode_reply(fail(ErrorKind::internal, "device {}", "nk\xff")));
    ASSERT_FALSE(error);
    EXPECT_THAT(error.error().message(), HasSubstr("device nk"));
}

TEST(Reply, MalformedIsAnErrorOfTheCallers) {
    const std::vector<std::string> replies{"",
                                           "{}",
                                           "[]",
                                           R"({"version":1})",
                                           R"({"version":1,"ok":true})",
                                           R"({"version":1,"ok":true,"result":[]})",
                                           R"({"version":1,"ok":false})",
                                           R"({"version":1,"ok":false,"error":{"code":1,"message":"a"}})",
                                           R"({"version":1,"ok":"yes","result":{}})",
                                           R"({"version":9,"ok":true,"result":{}})",
                                           std::string(10'000, '[')};
    for (const std::string& reply : replies) {
        EXPECT_FALSE(decode_reply(reply)) << reply.substr(0, 64);
    }
}

}  // namespace
}  // namespace netkitd::ipc
