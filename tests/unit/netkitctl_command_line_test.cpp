#include "netkitctl/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <sstream>

#include "netkitctl/netkitctl.h"

namespace netkitd::ctl {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

struct Outcome {
    int status = 0;
    std::string out;
    std::string err;
};

std::vector<const char*> arguments(std::initializer_list<const char*> given) {
    std::vector<const char*> argv{"netkitctl"};
    argv.insert(argv.end(), given);
    return argv;
}

Outcome netkitctl(std::initializer_list<const char*> given) {
    const auto argv = arguments(given);
    std::ostringstream out;
    std::ostringstream err;
    const int status = run(static_cast<int>(argv.size()), argv.data(), out, err);
    return {.status = status, .out = out.str(), .err = err.str()};
}

CommandLine parsed(std::initializer_list<const char*> given) {
    const auto argv = arguments(given);
    auto result = parse_command_line(static_cast<int>(argv.size()), argv.data());
    EXPECT_TRUE(result) << result.error().message();
    return result ? std::get<CommandLine>(*std::move(result)) : CommandLine();
}

TEST(CommandLine, ReadsEveryCommand) {
    EXPECT_EQ(parsed({"status"}).command, Command::status);
    EXPECT_EQ(parsed({"endpoint", "list"}).command, Command::endpoint_list);
    EXPECT_EQ(parsed({"endpoint", "show", "web"}).id, "web");
    EXPECT_EQ(parsed({"detach", "--id", "web"}).id, "web");
    EXPECT_EQ(parsed({"flow", "list", "--json"}).command, Command::flow_list);
    EXPECT_EQ(parsed({"doctor"}).command, Command::doctor);
    EXPECT_TRUE(parsed({"--json", "status"}).json);
    EXPECT_EQ(parsed({"status", "--socket", "/tmp/s"}).socket_path, "/tmp/s");
    EXPECT_EQ(parsed({"status"}).socket_path, "/run/netkitd/netkitd.sock");
}

TEST(CommandLine, AnnotationsKeepTheirCommasAndEqualsSigns) {
    const CommandLine line = parsed({"attach", "--id", "web", "--netns", "/run/netns/web", "--annotation",
                                     "io.netkitd.publish=8080:80/tcp,127.0.0.1:5353:53/udp", "--annotation",
                                     "io.netkitd.service=web:80=8080", "--annotation", "io.netkitd.network="});
    EXPECT_EQ(line.netns, "/run/netns/web");
    EXPECT_EQ(line.annotations,
              (std::map<std::string, std::string>{{"io.netkitd.publish", "8080:80/tcp,127.0.0.1:5353:53/udp"},
                                                  {"io.netkitd.service", "web:80=8080"},
                                                  {"io.netkitd.network", ""}}));
}

TEST(CommandLine, FlowsAreSelected) {
    const CommandLine line =
        parsed({"flow", "list", "--endpoint", "web", "--proto", "udp", "--dst", "192.0.2.0/24:53"});
    EXPECT_EQ(line.flows.endpoint, "web");
    EXPECT_EQ(line.flows.protocol, IPPROTO_UDP);
    EXPECT_EQ(line.flows.destination, *IpPrefix::parse("192.0.2.0/24"));
    EXPECT_EQ(line.flows.port, 53);
    EXPECT_EQ(parsed({"flow", "flush", "--all"}).command, Command::flow_flush);
    EXPECT_TRUE(parsed({"flow", "flush", "--all"}).all);
    const auto dst = [](const char* text) {
        const ipc::FlowSelection flows = parsed({"flow", "flush", "--dst", text}).flows;
        return formatted("{} {}", flows.destination->to_string(), flows.port ? std::to_string(*flows.port) : "any");
    };
    EXPECT_EQ(dst("192.0.2.1"), "192.0.2.1/32 any");
    EXPECT_EQ(dst("192.0.2.1:443"), "192.0.2.1/32 443");
    EXPECT_EQ(dst("2001:db8::1"), "2001:db8::1/128 any");
    EXPECT_EQ(dst("2001:db8::/32"), "2001:db8::/32 any");
    EXPECT_EQ(dst("[2001:db8::1]:443"), "2001:db8::1/128 443");
    EXPECT_EQ(dst("[2001:db8::/32]:443"), "2001:db8::/32 443");
}

TEST(CommandLine, AMistakeIsNamedAndEndsWithStatus2) {
    const auto refused = [](std::initializer_list<const char*> given, const char* message) {
        const Outcome outcome = netkitctl(given);
        EXPECT_EQ(outcome.status, 2) << message;
        EXPECT_THAT(outcome.out, IsEmpty());
        EXPECT_THAT(outcome.err, AllOf(HasSubstr(message), HasSubstr("netkitctl --help")));
    };
    refused({}, "a command is missing");
    refused({"stauts"}, "there is no command 'stauts'");
    refused({"endpoint"}, "there is no command 'endpoint'");
    refused({"endpoint", "show"}, "endpoint show: the container's id is missing");
    refused({"endpoint", "show", "../x"}, "'../x'");
    refused({"status", "now"}, "status: 'now' is superfluous");
    refused({"status", "--id", "web"}, "status takes no --id");
    refused({"attach", "--id", "web"}, "attach needs --netns");
    refused({"attach", "--netns", "/run/netns/web"}, "attach needs --id");
    refused({"attach", "--id", "", "--netns", "/x"}, "the id is 0 bytes long");
    refused({"detach", "--id", "web", "--annotation", "io.netkitd.mtu=1"}, "detach takes no --annotation");
    refused({"detach", "--id", "web", "--id", "db"}, "--id is there twice");
    refused({"attach", "--id", "w", "--netns", "/x", "--annotation", "io.netkitd.mtu"}, "not KEY=VALUE");
    refused({"attach", "--id", "w", "--netns", "/x", "--annotation", "org.example=1"}, "only io.netkitd.* mean");
    refused({"attach", "--id", "w", "--netns", "/x", "--annotation", "io.netkitd.mtu=1500", "--annotation",
             "io.netkitd.mtu=1400"},
            "'io.netkitd.mtu' is there twice");
    refused({"flow", "flush"}, "say which flows, by --endpoint, --proto or --dst, or else --all");
    refused({"flow", "flush", "--all", "--proto", "tcp"}, "say which flows");
    refused({"flow", "list", "--all"}, "flow list takes no --all");
    refused({"flow", "flush", "--host"}, "flow flush takes no --host");
    refused({"flow", "list", "--host", "--endpoint", "web"}, "--host and --endpoint: no flow is of both");
    refused({"status", "--proto", "tcp"}, "status takes no --proto");
    refused({"flow", "list", "--proto", "tcp", "--proto", "udp"}, "--proto is there twice");
    refused({"flow", "list", "--proto", "TCP"}, "--proto: 'TCP' is none of tcp, udp, ");
    refused({"flow", "list", "--endpoint", "a b"}, "--endpoint: id 'a b'");
    for (const char* dst : {"", "web", "192.0.2.1/8", "192.0.2.1:", "192.0.2.1:http", "192.0.2.1:65536", "192.0.2.1:-1",
                            "[192.0.2.1", "[2001:db8::1]", "[2001:db8::1]443", "2001:db8::1/32", "192.0.2.1 "}) {
        refused({"flow", "list", "--dst", dst}, "--dst: ");
    }
    refused({"status", "--jsno"}, "jsno");
    refused({"status", "--socket"}, "socket");
}

TEST(CommandLine, HelpAndVersionAreNoMistakes) {
    const Outcome help = netkitctl({"--help"});
    EXPECT_EQ(help.status, 0);
    EXPECT_THAT(help.out, AllOf(HasSubstr("Usage:"), HasSubstr("endpoint show ID"), HasSubstr("doctor")));
    const Outcome version = netkitctl({"--version"});
    EXPECT_EQ(version.status, 0);
    EXPECT_THAT(version.out, testing::StartsWith("netkitctl "));
}

TEST(Run, WithoutADaemonSaysHowToStartIt) {
    for (const auto& command : {std::vector<const char*>{"status"}, {"endpoint", "list"}, {"flow", "list"}}) {
        std::vector<const char*> argv{"netkitctl", "--socket", "/nonexistent/netkitd.sock"};
        argv.insert(argv.end(), command.begin(), command.end());
        std::ostringstream out;
        std::ostringstream err;
        EXPECT_EQ(run(static_cast<int>(argv.size()), argv.data(), out, err), 1);
        EXPECT_THAT(err.str(), AllOf(HasSubstr("netkitd is not running"), HasSubstr("systemctl start netkitd")));
        EXPECT_THAT(out.str(), IsEmpty());
    }
}

TEST(Run, ANetnsThatIsNoneIsNamed) {
    const Outcome missing = netkitctl({"attach", "--id", "web", "--netns", "/nonexistent/netns"});
    EXPECT_EQ(missing.status, 1);
    EXPECT_THAT(missing.err, HasSubstr("/nonexistent/netns"));
    const Outcome file = netkitctl({"attach", "--id", "web", "--netns", "/etc/passwd"});
    EXPECT_EQ(file.status, 1);
    EXPECT_THAT(file.err, HasSubstr("/etc/passwd: not a network namespace"));
}

TEST(Run, OutputThatCannotBeWrittenIsAFailure) {
    const auto argv = arguments({"--version"});
    std::ostringstream out;
    out.setstate(std::ios::badbit);
    std::ostringstream err;
    EXPECT_EQ(run(static_cast<int>(argv.size()), argv.data(), out, err), 1);
    EXPECT_THAT(err.str(), HasSubstr("could not be written"));
}

}  // namespace
}  // namespace netkitd::ctl
