#include "config/read_services.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "base/format.h"
#include "base/published_port.h"

namespace netkitd {
namespace {

constexpr std::size_t kMaxPublishAddresses = 64;

Result<std::vector<IpPrefix>> read_publish_addresses(const ConfigObject& object) {
    constexpr std::string_view kKey = "publish_address";
    const auto texts = NK_TRY(object.strings(kKey));
    if (texts.size() > kMaxPublishAddresses) {
        return fail(ErrorKind::invalid, "{}: more than {} addresses and prefixes", object.path_of(kKey),
                    kMaxPublishAddresses);
    }
    std::vector<IpPrefix> result;
    for (const std::string& text : texts) {
        const std::string path = formatted("{}[{}]", object.path_of(kKey), result.size());
        const IpPrefix prefix = NK_TRY_CONTEXT(path, IpPrefix::parse_or_address(text));
        if (!may_have_ports(prefix)) {
            return fail(ErrorKind::invalid, "{}: nobody can reach {}: leave `publish_address` out for all addresses",
                        path, prefix.to_string());
        }
        if (std::ranges::contains(result, prefix)) {
            return fail(ErrorKind::invalid, "{}: {} is there twice", path, prefix.to_string());
        }
        result.push_back(prefix);
    }
    return result;
}

}  // namespace

Result<void> read_services(const ConfigObject& top, Config& config) {
    const ConfigJson* const value = top.find("services");
    if (value == nullptr) {
        return {};
    }
    const ConfigObject object =
        NK_TRY(ConfigObject::of(*value, "services", {"publish_address", "cidr_ipv4", "cidr_ipv6", "node_port_range"}));
    for (const std::string_view key : {"cidr_ipv4", "cidr_ipv6", "node_port_range"}) {
        NK_TRY(object.refuse_unsupported(key));
    }
    config.publish_addresses = NK_TRY(read_publish_addresses(object));
    return {};
}

}  // namespace netkitd
