#include "daemon/options.h"

#include <cxxopts.hpp>

namespace netkitd {
namespace {

cxxopts::Options describe() {
    const Options defaults;
    cxxopts::Options options("netkitd", "Gives OCI containers a netkit interface and an eBPF datapath.\n");
    // clang-format off
    options.add_options()
        ("c,config", "configuration file", cxxopts::value<std::string>()->default_value(defaults.config_path), "FILE")
        ("socket", "where requests arrive", cxxopts::value<std::string>()->default_value(defaults.socket_path), "FILE")
        ("bpffs", "directory of pinned maps and links", cxxopts::value<std::string>()->default_value(defaults.bpffs_path), "DIR")
        ("store", "database of endpoints (over the configuration's)", cxxopts::value<std::string>(), "FILE")
        ("check-config", "say whether the configuration is good, and end")
        ("purge", "remove every trace from this host (pairs, pins, routes, state), and end")
        ("force", "with --purge: although containers are attached")
        ("version", "print the version, and end")
        ("h,help", "print this, and end");
    // clang-format on
    return options;
}

Result<Options> collect(const cxxopts::ParseResult& parsed) {
    Options options;
    if (!parsed.unmatched().empty()) {
        return fail(ErrorKind::invalid, "unexpected argument '{}'", parsed.unmatched().front());
    }
    if (parsed.count("check-config") > 0 && parsed.count("purge") > 0) {
        return fail(ErrorKind::invalid, "--check-config and --purge exclude each other");
    }
    if (parsed.count("force") > 0 && parsed.count("purge") == 0) {
        return fail(ErrorKind::invalid, "--force goes with --purge");
    }
    options.action = parsed.count("purge") > 0          ? Options::Action::purge
                     : parsed.count("check-config") > 0 ? Options::Action::check_config
                                                        : Options::Action::serve;
    options.force = parsed.count("force") > 0;
    options.config_path = parsed["config"].as<std::string>();
    options.config_required = parsed.count("config") > 0;
    options.socket_path = parsed["socket"].as<std::string>();
    options.bpffs_path = parsed["bpffs"].as<std::string>();
    if (parsed.count("store") > 0) {
        options.store_path = parsed["store"].as<std::string>();
    }
    return options;
}

}  // namespace

Result<std::variant<Options, std::string>> parse_options(int argc, const char* const* argv) {
    cxxopts::Options options = describe();
    try {
        const cxxopts::ParseResult parsed = options.parse(argc, argv);
        if (parsed.count("help") > 0) {
            return options.help();
        }
        if (parsed.count("version") > 0) {
            return std::string("netkitd " NETKITD_VERSION "\n");
        }
        return NK_TRY(collect(parsed));
    } catch (const cxxopts::exceptions::exception& error) {
        return fail(ErrorKind::invalid, "{}", error.what());
    }
}

}  // namespace netkitd
