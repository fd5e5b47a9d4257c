// The state that runtimes write, as crun and runc were seen to write it, and as nobody should.
#include "oci/oci_state.h"

#include <gmock/gmock.h>

#include "oci/action.h"

namespace netkitd::hook {
namespace {

using ::testing::HasSubstr;

std::string refusal(std::string_view text) {
    const auto state = parse_oci_state(text);
    return state ? "accepted" : state.error().message();
}

TEST(OciState, OfCrunAtCreateRuntime) {
    const auto state = parse_oci_state(R"({"ociVersion":"1.0","id":"web","pid":4242,"root":"/run/crun/web",
        "bundle":"/","status":"created","annotations":{"io.netkitd.network":"default","run.oci.x":"y"}})");
    ASSERT_TRUE(state) << state.error().message();
    EXPECT_EQ(state->id, "web");
    EXPECT_EQ(state->pid, 4242);
    EXPECT_EQ(state->status, "created");
    EXPECT_EQ(state->annotations, (std::map<std::string, std::string>{{"io.netkitd.network", "default"}}));
}

TEST(OciState, OfRuncAtPoststopHasNoPid) {
    const auto state = parse_oci_state(R"({"ociVersion":"1.0.2","id":"web","status":"stopped","bundle":"/b"})");
    ASSERT_TRUE(state) << state.error().message();
    EXPECT_EQ(state->pid, 0);
    EXPECT_TRUE(state->annotations.empty());
}

TEST(OciState, UnknownFieldsMayHoldAnything) {
    const auto state = parse_oci_state(
        R"({"x":[{"id":7,"annotations":{"io.netkitd.network":1}},[[]],null,1.5,-3,18446744073709551615],"id":"web",
            "y":{"pid":"no"},"pid":1,"annotations":{"org.example":["a",{"b":1}],"io.netkitd.mtu":"1400"}})");
    ASSERT_TRUE(state) << state.error().message();
    EXPECT_EQ(state->id, "web");
    EXPECT_EQ(state->pid, 1);
    EXPECT_EQ(state->annotations.size(), 1U);
}

TEST(OciState, NoAnnotationsAreNullInGo) {
    EXPECT_TRUE(parse_oci_state(R"({"id":"web","pid":1,"annotations":null})"));
}

TEST(OciState, MalformedIsRefusedByName) {
    std::string many;
    for (int i = 0; i < 33; ++i) {
        many += formatted("{}\"io.netkitd.{}\":\"\"", i == 0 ? "" : ",", i);
    }
    std::string deep_objects = R"({"id":"web","x":)";
    for (int i = 0; i < 10'000; ++i) {
        deep_objects += R"({"a":)";
    }
    const std::vector<std::pair<std::string, const char*>> cases{
        {"", "no OCI state on stdin"},
        {"hello", "not valid JSON at byte 1"},
        {R"({"id":"web","pid":42)", "not valid JSON"},
        {R"({"id":"web"} {"id":"db"})", "not valid JSON"},
        {std::string("{\"id\":\"web\"}\0{}", 15), "NUL byte"},
        {"{\"id\":\"w\xff\"}", "not valid UTF-8"},
        {"{\"id\":\"web\",\"x\":\"\xed\xa0\x80\"}", "not valid UTF-8"},
        {"[]", "not a JSON object"},
        {"7", "not a JSON object"},
        {"{}", "id is missing"},
        {R"({"id":""})", "id is missing"},
        {R"({"id":7})", "id is not a string"},
        {R"({"id":{}})", "id is not a string"},
        {R"({"id":"a","id":"b"})", "id is there twice"},
        {R"({"id":"a","pid":"1"})", "pid is not a process id"},
        {R"({"id":"a","pid":-1})", "pid is not a process id"},
        {R"({"id":"a","pid":1.0})", "pid is not a process id"},
        {R"({"id":"a","pid":2147483648})", "pid is not a process id"},
        {R"({"id":"a","pid":18446744073709551615})", "pid is not a process id"},
        {R"({"id":"a","pid":null})", "pid is not a process id"},
        {R"({"id":"a","pid":[1]})", "pid is not a process id"},
        {R"({"id":"a","status":1})", "status is not a string"},
        {R"({"id":"a","bundle":false})", "bundle is not a string"},
        {R"({"id":"a","annotations":[]})", "annotations is not an object"},
        {R"({"id":"a","annotations":"x"})", "annotations is not an object"},
        {R"({"id":"a","annotations":{"io.netkitd.mtu":1400}})", "annotation 'io.netkitd.mtu' is not a string"},
        {R"({"id":"a","annotations":{"io.netkitd.mtu":{}}})", "annotation 'io.netkitd.mtu' is not a string"},
        {R"({"id":"a","annotations":{"io.netkitd.mtu":"1","io.netkitd.mtu":"2"}})", "'io.netkitd.mtu' is there twice"},
        {R"({"id":"a","annotations":{)" + many + "}}", "more than 32 annotations"},
        {R"({"id":"a","annotations":{"io.netkitd.x":")" + std::string(5000, 'a') + "\"}}", "longer than 4096 bytes"},
        {std::string(10'000, '['), "not a JSON object"},
        {R"({"id":"a","x":)" + std::string(10'000, '['), "nested deeper than 32 levels"},
        {deep_objects, "nested deeper than 32 levels"},
    };
    for (const auto& [text, reason] : cases) {
        EXPECT_THAT(refusal(text), HasSubstr(reason)) << text.substr(0, 80);
    }
}

struct Call {
    Stage stage;
    std::int32_t pid;
    const char* status;
};

Result<Action> decide_for(const Call& call) {
    return decide(
        call.stage,
        {.id = "web", .pid = call.pid, .status = call.status, .annotations = {{"io.netkitd.network", "default"}}});
}

TEST(Action, FollowsTheTableInItsHeader) {
    using enum Stage;
    for (const Call& call :
         {Call{from_state, 42, "created"}, Call{from_state, 42, "creating"}, Call{from_state, 42, ""},
          Call{create_runtime, 42, "created"}, Call{create_runtime, 42, "stopped"}}) {
        const auto action = decide_for(call);
        ASSERT_TRUE(action) << call.status << ": " << action.error().message();
        EXPECT_EQ(*action, Action::attach) << call.status;
    }
    for (const Call& call : {Call{from_state, 0, "stopped"}, Call{from_state, 42, "stopped"}, Call{poststop, 0, ""},
                             Call{poststop, 42, "running"}}) {
        const auto action = decide_for(call);
        ASSERT_TRUE(action) << call.status << ": " << action.error().message();
        EXPECT_EQ(*action, Action::detach) << call.status;
    }
    for (const Call& call : {Call{from_state, 0, "created"}, Call{from_state, 0, ""},
                             Call{create_runtime, 0, "created"}, Call{create_runtime, 0, "stopped"}}) {
        const auto action = decide_for(call);
        ASSERT_FALSE(action) << call.status;
        EXPECT_THAT(action.error().message(), HasSubstr("names no process"));
    }
}

TEST(Action, ToAttachNeedsTheOptIn) {
    const auto action = decide(Stage::from_state, {.id = "web", .pid = 42, .status = "created", .annotations = {}});
    ASSERT_FALSE(action);
    EXPECT_THAT(action.error().message(), HasSubstr("has no annotation io.netkitd.network"));
    const auto misspelt =
        decide(Stage::from_state,
               {.id = "web", .pid = 42, .status = "created", .annotations = {{"io.netkitd.netwrok", "default"}}});
    ASSERT_FALSE(misspelt);
    EXPECT_THAT(misspelt.error().message(),
                HasSubstr("has 'io.netkitd.netwrok', but no annotation io.netkitd.network"));
}

TEST(Action, ToDetachNeedsOnlyTheId) {
    EXPECT_TRUE(decide(Stage::from_state, {.id = "web", .pid = 0, .status = "stopped", .annotations = {}}));
}

}  // namespace
}  // namespace netkitd::hook
