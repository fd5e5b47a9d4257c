#include <csignal>
#include <cstdio>
#include <print>
#include <variant>

#include "base/log.h"
#include "daemon/daemon.h"
#include "daemon/options.h"
#include "daemon/purge.h"
#include "daemon/waiting.h"

namespace netkitd {
namespace {

// sysexits don't fit the contract: 1 refused or failed, 2 usage.
constexpr int kFailed = 1;
constexpr int kUsage = 2;

Result<void> serve(const Options& options, const Config& config) {
    // A reload that comes before there is anything to reload; later it is waited for (EventLoop::on_signal), whatever
    // stands here.
    std::signal(SIGHUP, SIG_IGN);
    for (;;) {
        const auto daemon = Daemon::start(options, config);
        if (daemon) {
            return (*daemon)->run();
        }
        if (!may_pass(daemon.error())) {
            return std::unexpected(daemon.error());
        }
        if (!NK_TRY(wait_to_try_again(options, daemon.error()))) {
            return {};
        }
    }
}

Result<void> carry_out(const Options& options) {
    const Config config = NK_TRY(read_config(options));
    switch (options.action) {
        case Options::Action::check_config:
            std::println("{}: good", options.config_path);
            return {};
        case Options::Action::purge:
            return purge(options, config);
        case Options::Action::serve:
            return serve(options, config);
    }
    return {};
}

int run(int argc, const char* const* argv) {
    const auto parsed = parse_options(argc, argv);
    if (!parsed) {
        std::println(stderr, "netkitd: {}\nTry: netkitd --help", parsed.error().message());
        return kUsage;
    }
    if (const auto* text = std::get_if<std::string>(&*parsed)) {
        std::fputs(text->c_str(), stdout);
        return 0;
    }
    const Result<void> result = carry_out(std::get<Options>(*parsed));
    if (!result) {
        log(LogLevel::error, "{}", result.error().message());
        return kFailed;
    }
    return 0;
}

}  // namespace
}  // namespace netkitd

int main(int argc, char** argv) {
    return netkitd::run(argc, argv);
}
