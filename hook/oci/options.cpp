#include "oci/options.h"

#include <getopt.h>

#include <array>

#include "base/parse_number.h"
#include "base/quote.h"

namespace netkitd::hook {
namespace {

// No runtime waits longer than this for a hook without harm.
constexpr unsigned kMaxDeadlineMs = 60'000;

Result<std::chrono::milliseconds> parse_deadline(std::string_view text) {
    const auto value = parse_number<unsigned>(text, 1, kMaxDeadlineMs);
    if (!value) {
        return fail(ErrorKind::invalid, "--deadline-ms {}: a number from 1 to {} is needed", quote(text),
                    kMaxDeadlineMs);
    }
    return std::chrono::milliseconds(*value);
}

}  // namespace

Result<Options> parse_options(int argc, char** argv) {
    constexpr std::array<option, 4> kLong{
        {{.name = "socket", .has_arg = required_argument, .flag = nullptr, .val = 's'},
         {.name = "deadline-ms", .has_arg = required_argument, .flag = nullptr, .val = 'd'},
         {.name = "help", .has_arg = no_argument, .flag = nullptr, .val = 'h'},
         {.name = nullptr, .has_arg = 0, .flag = nullptr, .val = 0}}};
    Options options;
    opterr = 0;
    for (int letter = 0; (letter = ::getopt_long(argc, argv, ":", kLong.data(), nullptr)) != -1;) {
        switch (letter) {
            case 's':
                options.socket_path = optarg;
                break;
            case 'd':
                options.deadline = NK_TRY(parse_deadline(optarg));
                break;
            case 'h':
                options.help = true;
                break;
            case ':':
                return fail(ErrorKind::invalid, "{} needs a value", quote(argv[optind - 1]));
            default:
                return fail(ErrorKind::invalid, "{} is not an option", quote(argv[optind - 1]));
        }
    }
    if (argc - optind > 1) {
        return fail(ErrorKind::invalid, "{}: one stage is enough", quote(argv[optind + 1]));
    }
    if (optind < argc) {
        options.stage = NK_TRY(parse_stage(argv[optind]));
    }
    return options;
}

}  // namespace netkitd::hook
