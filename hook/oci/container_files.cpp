#include "oci/container_files.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/read_file.h"
#include "oci/bundle.h"
#include "oci/container_root.h"
#include "oci/own_name.h"
#include "oci/private_file.h"

namespace netkitd::hook {
namespace {

using nlohmann::json;

constexpr const char* kResolvConf = "etc/resolv.conf";
constexpr std::size_t kMaxMountsBytes = 4UL * 1024 * 1024;

// What the daemon says of the container's names.
struct Names {
    std::string resolv_conf;
    bool has_servers = false;
    std::vector<std::string> addresses;  // the container's own
};

std::optional<Names> names_in(const json& reply) {
    const auto text = reply.find("resolv_conf");
    if (text == reply.end() || !text->is_string()) {
        return std::nullopt;  // a daemon of before
    }
    Names names{.resolv_conf = text->get<std::string>(), .has_servers = false, .addresses = {}};
    if (const auto servers = reply.find("name_servers"); servers != reply.end()) {
        names.has_servers = !servers->empty();
    }
    for (const char* family : {"ipv4", "ipv6"}) {
        if (const auto address = reply.find(family); address != reply.end() && address->is_string()) {
            names.addresses.push_back(address->get<std::string>());
        }
    }
    return names;
}

// A container that shares the host's mount namespace has the host's files.
Result<bool> is_this_mount_namespace(int fd) {
    struct stat own{};
    struct stat other{};
    if (::stat("/proc/self/ns/mnt", &own) != 0 || ::fstat(fd, &other) != 0) {
        return fail_errno(errno, "compare mount namespaces");
    }
    return own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

// One with servers is for every container; one that only says why there are none must not hide what the image has.
Result<void> mount_resolv_conf(const std::string& root_path, const Names& names, const Owner& owner,
                               std::string mounts) {
    const ContainerRoot root = NK_TRY(ContainerRoot::open(root_path, std::move(mounts)));
    const UniqueFd target = NK_TRY(root.find_or_make(kResolvConf));
    if (NK_TRY(is_mount(target.get())) || (!names.has_servers && NK_TRY(size_of(target.get())) > 0)) {
        return {};
    }
    NK_TRY_CONTEXT("/etc/resolv.conf in the container", root.check_target(target.get()));
    return mount_private_file(names.resolv_conf, owner, target.get(), root.fd());
}

}  // namespace

Result<void> put_container_files(const ContainerProcess& process, const OciState& state, const json& reply) {
    const auto names = names_in(reply);
    if (!names || NK_TRY(is_this_mount_namespace(process.mount_namespace.get()))) {
        return {};
    }
    const Bundle bundle = NK_TRY(read_bundle(state));
    Result<void> put;
    if (!bundle.hosts_file.empty() && !names->addresses.empty()) {
        put = put_own_name({bundle.hosts_file, bundle.host_name, names->addresses}, process.pidfd.get());
    }
    // Here: in the container's mount namespace there is no /proc of ours.
    std::string mounts = NK_TRY(read_file(formatted("/proc/{}/mountinfo", state.pid), kMaxMountsBytes));
    if (::setns(process.mount_namespace.get(), CLONE_NEWNS) != 0) {
        return fail_errno(errno, "enter the container's mount namespace");
    }
    keep_first(put, mount_resolv_conf(bundle.root, *names, process.root_user, std::move(mounts)));
    return put;
}

}  // namespace netkitd::hook
