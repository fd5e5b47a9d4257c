#include "config/annotations.h"

#include <array>
#include <ranges>
#include <string_view>
#include <utility>

#include "base/annotation_prefix.h"
#include "base/join.h"
#include "base/parse_number.h"
#include "base/quote.h"
#include "config/mtu.h"
#include "config/names.h"

namespace netkitd {
namespace {

using Parser = Result<void> (*)(std::string_view value, AttachOptions& options);

Result<void> parse_network(std::string_view value, AttachOptions& options) {
    NK_TRY(check_network_name(value));
    options.network = value;
    return {};
}

Result<void> parse_interface(std::string_view value, AttachOptions& options) {
    NK_TRY(check_interface_name(value));
    options.interface_name = value;
    return {};
}

Result<void> parse_ipv4(std::string_view value, AttachOptions& options) {
    const auto address = IpAddr::parse(value);
    if (!address || !address->is_v4()) {
        return fail(ErrorKind::invalid, "{} is not an IPv4 address (like 10.77.0.10)", quote(value));
    }
    options.ipv4 = *address;
    return {};
}

Result<void> parse_ipv6(std::string_view value, AttachOptions& options) {
    const auto address = IpAddr::parse(value);
    if (!address || address->is_v4()) {
        return fail(ErrorKind::invalid, "{} is not an IPv6 address (like fd6e:6b64::10)", quote(value));
    }
    options.ipv6 = *address;
    return {};
}

Result<void> parse_mtu(std::string_view value, AttachOptions& options) {
    const auto mtu = parse_number<std::uint32_t>(value, kMinMtu, kMaxMtu);
    if (!mtu) {
        return fail(ErrorKind::invalid, "{} is not a number from {} to {}", quote(value), kMinMtu, kMaxMtu);
    }
    options.mtu = mtu;
    return {};
}

Result<void> parse_mode(std::string_view value, AttachOptions& options) {
    options.device_mode = NK_TRY(link::parse_device_mode(value));
    return {};
}

Result<void> parse_dns(std::string_view value, AttachOptions& options) {
    std::vector<std::string> servers;
    for (const auto part : std::views::split(value, ',')) {
        servers.emplace_back(std::string_view(part));
    }
    options.dns = NK_TRY(parse_name_servers(servers));
    return {};
}

Result<void> parse_publish(std::string_view value, AttachOptions& options) {
    options.publish = NK_TRY(parse_published_ports(value));
    return {};
}

Result<void> refuse_unsupported(std::string_view /*value*/, AttachOptions& /*options*/) {
    return fail(ErrorKind::invalid, "not supported by this version yet; remove the annotation");
}

constexpr std::array<std::pair<std::string_view, Parser>, 9> kAnnotations{{
    {"network", parse_network},
    {"interface", parse_interface},
    {"ipv4", parse_ipv4},
    {"ipv6", parse_ipv6},
    {"mtu", parse_mtu},
    {"device-mode", parse_mode},
    {"dns", parse_dns},
    {"publish", parse_publish},
    {"service", refuse_unsupported},
}};

Result<void> parse_one(std::string_view name, std::string_view value, AttachOptions& options) {
    for (const auto& [known, parser] : kAnnotations) {
        if (known == name) {
            return parser(value, options);
        }
    }
    const auto is_supported = [](const auto& annotation) { return annotation.second != refuse_unsupported; };
    const auto full_name = [](const auto& annotation) {
        return formatted("{}{}", kAnnotationPrefix, annotation.first);
    };
    return fail(ErrorKind::invalid, "no such annotation; there are {}",
                join(kAnnotations | std::views::filter(is_supported), full_name));
}

}  // namespace

Result<AttachOptions> parse_annotations(const std::map<std::string, std::string>& annotations) {
    AttachOptions options;
    for (const auto& [key, value] : annotations) {
        if (!key.starts_with(kAnnotationPrefix)) {
            continue;
        }
        const std::string_view name = std::string_view(key).substr(kAnnotationPrefix.size());
        NK_TRY_CONTEXT(formatted("annotation {}", quote(key)), parse_one(name, value, options));
    }
    return options;
}

}  // namespace netkitd
