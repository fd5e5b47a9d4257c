#include "netkitctl/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/magic.h>

#include <algorithm>
#include <fstream>

#include <nlohmann/json.hpp>

namespace netkitd::ctl {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kHookFile = "usr/share/containers/oci/hooks.d/netkitd.json";

link::Uplink uplink(const char* name, const char* unusable = "") {
    link::Uplink uplink;
    uplink.name = name;
    uplink.unusable = unusable;
    return uplink;
}

// A host that has everything, below a directory of its own; each test takes something away.
class DoctorTest : public testing::Test {
protected:
    void SetUp() override {
        std::string pattern = testing::TempDir() + "doctor_test_XXXXXX";
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        root_ = pattern;
        host_ = {.root = root_,
                 .kernel_release = "6.12.57+deb13-cloud-amd64",
                 .is_superuser = true,
                 .search_path = {"/usr/bin"},
                 .netkit_supported = [] { return true; },
                 .filesystem_type = [this](const fs::path& path) -> std::optional<std::uint64_t> {
                     if (path == root_ / "sys/fs/bpf") {
                         return BPF_FS_MAGIC;
                     }
                     return path == root_ / "sys/fs/cgroup" ? std::optional<std::uint64_t>(CGROUP2_SUPER_MAGIC)
                                                            : std::nullopt;
                 },
                 .uplinks = [] { return std::vector{uplink("eth0")}; },
                 .missing_uplinks = [] { return std::vector<std::string>(); },
                 .ipsec_policies = [] { return 0U; },
                 .filter_chains = [] { return std::vector<link::FilterChain>(); },
                 .chains_that_give_any_port = [] { return std::vector<std::string>(); },
                 .open_ports = [] { return 0; },
                 .last_errors = [] { return std::vector<std::string>(); }};
        write("sys/kernel/btf/vmlinux", "BTF");
        write("proc/sys/net/core/bpf_jit_enable", "1\n");
        write("proc/sys/kernel/unprivileged_bpf_disabled", "2\n");
        write("proc/sys/net/ipv6/conf/lo/disable_ipv6", "0\n");
        write("proc/sys/net/ipv6/conf/lo/force_forwarding", "0\n");
        write("etc/resolv.conf", "search example.org\nnameserver 192.0.2.53\n");
        write("usr/lib/systemd/system/netkitd.service", "[Unit]\n");
        fs::create_directories(root_ / "run/systemd/system");
        fs::create_directories(root_ / "etc/systemd/system/multi-user.target.wants");
        fs::create_symlink("/usr/lib/systemd/system/netkitd.service",
                           root_ / "etc/systemd/system/multi-user.target.wants/netkitd.service");
        write(kHookFile, R"({"hook": {"path": "/usr/libexec/netkitd/netkit-hook"}})");
        write_program("usr/libexec/netkitd/netkit-hook");
        write_program("usr/bin/podman");
        write_program("usr/bin/crun");
    }
    void TearDown() override { fs::remove_all(root_); }

    void write(const fs::path& path, const std::string& text) const {
        fs::create_directories((root_ / path).parent_path());
        std::ofstream(root_ / path) << text;
    }
    void write_program(const fs::path& path) const {
        write(path, "");
        fs::permissions(root_ / path, fs::perms::owner_all);
    }
    [[nodiscard]] Finding finding(const std::string& check) const {
        const auto findings = examine(host_);
        const auto found = std::ranges::find(findings, check, &Finding::check);
        EXPECT_NE(found, findings.end()) << check;
        return found == findings.end() ? Finding() : *found;
    }
    // What every finding that is not ok owes the reader.
    void expect(const std::string& check, Verdict verdict, const char* text, const char* fix) const {
        const Finding found = finding(check);
        EXPECT_EQ(found.verdict, verdict) << check;
        EXPECT_THAT(found.text, HasSubstr(text));
        EXPECT_THAT(found.fix, HasSubstr(fix));
        EXPECT_EQ(is_fit(examine(host_)), verdict != Verdict::missing);
    }

    fs::path root_;
    Host host_;
};

TEST_F(DoctorTest, AHostThatHasEverything) {
    const auto findings = examine(host_);
    for (const Finding& found : findings) {
        EXPECT_EQ(found.verdict, Verdict::ok) << found.check << ": " << found.text;
        EXPECT_EQ(found.fix, "") << found.check;
    }
    EXPECT_TRUE(is_fit(findings));
    EXPECT_THAT(print_findings(findings), HasSubstr("This host has all that netkitd needs."));
    EXPECT_THAT(finding("runtimes").text, HasSubstr("podman, crun"));
}

TEST_F(DoctorTest, NotRoot) {
    host_.is_superuser = false;
    expect("root", Verdict::warn, "not running as root", "sudo netkitctl doctor");
}

TEST_F(DoctorTest, Uplinks) {
    EXPECT_THAT(finding("uplinks").text, HasSubstr("by eth0"));
    host_.uplinks = [] { return std::vector(10, uplink("lan0")); };
    EXPECT_THAT(finding("uplinks").text, HasSubstr("lan0, lan0 and 2 others"));
    host_.uplinks = [] { return std::vector<link::Uplink>(); };
    expect("uplinks", Verdict::warn, "no device has an address or a route", "connect this host");
    host_.uplinks = [] { return std::vector{uplink("eth0"), uplink("ppp0", "ppp0 has packets of a kind")}; };
    expect("uplinks", Verdict::warn, "ppp0 has packets of a kind", "ip rule add from");
    host_.uplinks = [] { return std::vector<link::Uplink>(); };
    host_.missing_uplinks = [] { return std::vector<std::string>{"eth7"}; };
    expect("uplinks", Verdict::warn, "`uplinks` names eth7, which this host does not have", "ip link");
    host_.uplinks = []() -> Result<std::vector<link::Uplink>> {
        return fail(ErrorKind::refused, "no netlink for you");
    };
    expect("uplinks", Verdict::warn, "no netlink for you", "as root");
}

TEST_F(DoctorTest, IpsecPoliciesArePassedBy) {
    host_.ipsec_policies = [] { return 2U; };
    expect("ipsec", Verdict::warn, "2 IPsec policies", "wireguard");
}

TEST_F(DoctorTest, Kernels) {
    host_.kernel_release = "6.1.0-18-amd64";
    expect("kernel", Verdict::missing, "too old", "linux-image");
    host_.kernel_release = "6.6.9";
    expect("kernel", Verdict::warn, "veth", "6.8");
    host_.kernel_release = "6.8";
    EXPECT_EQ(finding("kernel").verdict, Verdict::ok);
    host_.kernel_release = "10.0-rc1";
    EXPECT_EQ(finding("kernel").verdict, Verdict::ok);
    for (const char* odd : {"", "6", "six.eight", "6.", "99999999999.1"}) {
        host_.kernel_release = odd;
        expect("kernel", Verdict::warn, "no version to compare", "6.6");
    }
}

TEST_F(DoctorTest, AKernelWithoutNetkit) {
    host_.netkit_supported = [] { return false; };
    expect("netkit", Verdict::warn, "containers get veth devices", "CONFIG_NETKIT");
}

TEST_F(DoctorTest, NetkitThatCannotBeTried) {
    host_.netkit_supported = [] -> Result<bool> { return fail_errno(EPERM, "make a network namespace"); };
    expect("netkit", Verdict::warn, "Operation not permitted", "as root");
}

TEST_F(DoctorTest, NoBtf) {
    fs::remove(root_ / "sys/kernel/btf/vmlinux");
    expect("btf", Verdict::missing, "/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF=y");
}

TEST_F(DoctorTest, NoBpffsAndNoCgroup2) {
    host_.filesystem_type = [](const fs::path&) { return std::optional<std::uint64_t>(TMPFS_MAGIC); };
    EXPECT_EQ(finding("cgroup2").verdict, Verdict::warn);
    EXPECT_THAT(finding("cgroup2").fix, HasSubstr("mount -t cgroup2"));
    expect("bpffs", Verdict::missing, "nothing can be pinned", "mount -t bpf bpf /sys/fs/bpf");
    host_.filesystem_type = [](const fs::path&) { return std::nullopt; };
    EXPECT_EQ(finding("bpffs").verdict, Verdict::missing);
}

TEST_F(DoctorTest, TheJitIsOffOrUnknown) {
    write("proc/sys/net/core/bpf_jit_enable", "0\n");
    expect("bpf-jit", Verdict::warn, "off", "sysctl -w net.core.bpf_jit_enable=1");
    fs::remove(root_ / "proc/sys/net/core/bpf_jit_enable");
    expect("bpf-jit", Verdict::warn, "cannot be read", "CONFIG_BPF_JIT=y");
}

TEST_F(DoctorTest, Ipv6IsOffOrMissingOrOnlyForTheWholeHost) {
    write("proc/sys/net/ipv6/conf/lo/disable_ipv6", "1\n");
    expect("ipv6", Verdict::warn, "turned off", "disable_ipv6=0");
    write("proc/sys/net/ipv6/conf/lo/disable_ipv6", "0\n");
    fs::remove(root_ / "proc/sys/net/ipv6/conf/lo/force_forwarding");
    expect("ipv6", Verdict::ok, "net.ipv6.conf.all.forwarding", "");
    fs::remove_all(root_ / "proc/sys/net/ipv6");
    expect("ipv6", Verdict::warn, "this kernel has no IPv6", "ipv6.disable=1");
}

TEST_F(DoctorTest, EverybodyMayLoadBpf) {
    write("proc/sys/kernel/unprivileged_bpf_disabled", "0\n");
    expect("unprivileged-bpf", Verdict::warn, "every user", "kernel.unprivileged_bpf_disabled=2");
}

TEST_F(DoctorTest, NoRuntime) {
    fs::remove(root_ / "usr/bin/podman");
    fs::permissions(root_ / "usr/bin/crun", fs::perms::owner_read);
    fs::create_directories(root_ / "usr/bin/runc");
    expect("runtimes", Verdict::warn, "no container runtime", "apt install");
}

TEST_F(DoctorTest, NoHookFile) {
    fs::remove(root_ / kHookFile);
    expect("hook", Verdict::missing, "there is no /usr/share/containers/oci/hooks.d/netkitd.json", "hooks_dir");
    write("etc/containers/oci/hooks.d/netkitd.json", R"({"hook": {"path": "/usr/libexec/netkitd/netkit-hook"}})");
    EXPECT_EQ(finding("hook").verdict, Verdict::ok);
}

TEST_F(DoctorTest, AHookFileThatBreaksEveryContainer) {
    fs::remove(root_ / "usr/libexec/netkitd/netkit-hook");
    expect("hook", Verdict::missing, "containers start without their network, or not at all",
           "remove /usr/share/containers");
}

TEST_F(DoctorTest, AHookFileThatIsNone) {
    for (const char* text : {"", "{", "[]", R"({"hook": []})", R"({"hook": {"path": 7}})", "\xff"}) {
        write(kHookFile, text);
        expect("hook", Verdict::missing, "is not a hook file", "install netkitd again");
    }
}

TEST_F(DoctorTest, TheService) {
    fs::remove(root_ / "etc/systemd/system/multi-user.target.wants/netkitd.service");
    expect("service", Verdict::warn, "not started at boot", "systemctl enable --now netkitd");
    fs::remove(root_ / "usr/lib/systemd/system/netkitd.service");
    expect("service", Verdict::missing, "not installed", "cmake --install");
    fs::remove(root_ / "run/systemd/system");
    expect("service", Verdict::warn, "not booted with systemd", "by hand");
}

TEST_F(DoctorTest, NameServersThatContainersCannotReach) {
    for (const char* text : {"nameserver 127.0.0.53\noptions edns0\n", "nameserver ::1\nnameserver 127.0.0.1\n"}) {
        write("etc/resolv.conf", text);
        expect("name-servers", Verdict::warn, "loopback", "io.netkitd.dns");
    }
    write("etc/resolv.conf", "nameserver\tfe80::1%eth0\n");
    expect("name-servers", Verdict::warn, "fe80::1%eth0 is a link-local address", "io.netkitd.dns");
    for (const char* text : {"", "# nameserver 192.0.2.53\n", "nameserver\n", "nameserver none\n"}) {
        write("etc/resolv.conf", text);
        expect("name-servers", Verdict::warn, "names no server", "io.netkitd.dns");
    }
    fs::remove(root_ / "etc/resolv.conf");
    expect("name-servers", Verdict::warn, "names no server", "io.netkitd.dns");
}

TEST_F(DoctorTest, AFirewallThatContainersPassBy) {
    const auto chains = [this](bool drops, bool has_rules) {
        host_.filter_chains = [=] {
            return std::vector{link::FilterChain{.name = "ip filter FORWARD", .drops = drops, .has_rules = has_rules}};
        };
    };
    chains(true, false);
    expect("firewall", Verdict::warn, "ip filter FORWARD, policy drop", "isolated");
    chains(false, true);
    expect("firewall", Verdict::warn, "does not hold for containers", "isolated");
    chains(false, false);
    EXPECT_EQ(finding("firewall").verdict, Verdict::ok);
    host_.filter_chains = [] {
        return std::vector{link::FilterChain{.name = "inet netavark FORWARD", .has_rules = true},
                           link::FilterChain{.name = "inet fw f", .drops = true}};
    };
    expect("firewall", Verdict::warn, "(inet netavark FORWARD; inet fw f, policy drop)", "isolated");
}

TEST_F(DoctorTest, AFirewallThatKeepsContainersFromTheHost) {
    link::FilterChain chain{
        .name = "inet filter input", .hook = link::FilterChain::Hook::input, .drops = true, .has_rules = true};
    host_.filter_chains = [&] { return std::vector{chain}; };
    expect("host-services", Verdict::warn, "(inet filter input)",
           "nft add rule inet filter input iifname netkitd0 udp dport 53 accept");
    EXPECT_EQ(finding("firewall").verdict, Verdict::ok);
    chain.names_host_device = true;
    EXPECT_EQ(finding("host-services").verdict, Verdict::ok);
    chain = {.name = "inet filter input", .hook = link::FilterChain::Hook::input, .has_rules = true};
    EXPECT_EQ(finding("host-services").verdict, Verdict::ok);
}

TEST_F(DoctorTest, PublishedPortsThatPassByTheFirewall) {
    std::vector<link::FilterChain> chains;
    host_.filter_chains = [&] { return chains; };
    host_.open_ports = [] { return 3; };
    EXPECT_EQ(finding("published-ports").verdict, Verdict::ok);
    chains = {{.name = "ip filter INPUT", .hook = link::FilterChain::Hook::input, .has_rules = true},
              {.name = "inet fw in", .hook = link::FilterChain::Hook::input, .drops = true},
              {.name = "inet fw f", .drops = true}};
    expect("published-ports", Verdict::warn, "3 of them are open to everybody outside", "`;allow=`");
    expect("published-ports", Verdict::warn, "(ip filter INPUT; inet fw in)", "publish_address");
    host_.open_ports = [] { return 0; };
    EXPECT_EQ(finding("published-ports").verdict, Verdict::ok);
}

TEST_F(DoctorTest, AnotherNatThatTakesPortsOfThePool) {
    host_.chains_that_give_any_port = [] { return std::vector<std::string>{"ip docker post", "ip6 nat POSTROUTING"}; };
    expect("other-nats", Verdict::warn, "(ip docker post; ip6 nat POSTROUTING)", "masquerade to :32768-49151");
    host_.chains_that_give_any_port = [] { return std::vector<std::string>(); };
    EXPECT_EQ(finding("other-nats").verdict, Verdict::ok);
}

TEST_F(DoctorTest, WhatFailedLately) {
    host_.last_errors = [] {
        return std::vector<std::string>{"attach web: no address is left", "attach db: no such network"};
    };
    expect("last-errors", Verdict::warn, "2 failed lately, the last: attach db: no such network", "netkitctl status");
    host_.last_errors = [] { return Result<std::vector<std::string>>(fail(ErrorKind::unavailable, "nobody answers")); };
    expect("last-errors", Verdict::warn, "what failed lately is not known: nobody answers", "did not start");
}

TEST_F(DoctorTest, NameServersThatContainersReach) {
    write("etc/resolv.conf", "nameserver 127.0.0.53\nnameserver 192.0.2.53");
    EXPECT_EQ(finding("name-servers").verdict, Verdict::ok);
    write("etc/resolv.conf", "nameserver 127.0.0.53\n");
    write("run/systemd/resolve/resolv.conf", "nameserver 2001:db8::53\n");
    EXPECT_EQ(finding("name-servers").text, "containers ask 2001:db8::53, from /run/systemd/resolve/resolv.conf");
}

TEST_F(DoctorTest, PrintsAVerdictALineAndTheWayOutBelow) {
    const std::vector<Finding> findings{{.check = "kernel", .verdict = Verdict::ok, .text = "fine", .fix = ""},
                                        {.check = "btf", .verdict = Verdict::missing, .text = "none", .fix = "get it"}};
    EXPECT_EQ(print_findings(findings),
              "ok       kernel  fine\n"
              "missing  btf     none\n"
              "                 -> get it\n"
              "\n1 essential thing is missing.\n");
    EXPECT_EQ(findings_json(findings), nlohmann::json::parse(R"({"fit": false, "findings": [
                  {"check": "kernel", "verdict": "ok", "text": "fine", "fix": ""},
                  {"check": "btf", "verdict": "missing", "text": "none", "fix": "get it"}]})"));
}

}  // namespace
}  // namespace netkitd::ctl
