// What is read of the host's firewall: that of nftables, and what iptables leaves in it.
#include "link/firewall.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "harness/host_test.h"

namespace netkitd::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class FirewallTest : public HostTest {
protected:
    void SetUp() override {
        HostTest::SetUp();
        if (!IsSkipped() &&
            !node().succeeds("nft 'table ip t { chain c { type nat hook postrouting priority 0; }; }'")) {
            GTEST_SKIP() << "this kernel has no NAT of nftables";
        }
    }
    [[nodiscard]] static std::vector<std::string> chains_that_give_any_port() {
        const auto chains = link::chains_that_give_any_port();
        EXPECT_TRUE(chains) << chains.error().message();
        return chains.value_or(std::vector<std::string>());
    }
};

TEST_F(FirewallTest, SaysWhichChainsFilterAndWhetherTheyNameTheHostDevice) {
    const auto chains = [] {
        auto found = link::filter_chains();
        EXPECT_TRUE(found) << found.error().message();
        return found.value_or(std::vector<link::FilterChain>());
    };
    EXPECT_THAT(chains(), IsEmpty()) << "what translates is not asked about";
    node().run(
        "nft 'table inet f { chain in { type filter hook input priority 0; policy drop; iifname lo accept; }; "
        "chain through { type filter hook forward priority 0; }; }'");
    auto found = chains();
    ASSERT_EQ(found.size(), 2U);
    std::ranges::sort(found, {}, &link::FilterChain::name);
    EXPECT_EQ(found[0].name, "inet f in");
    EXPECT_EQ(found[0].hook, link::FilterChain::Hook::input);
    EXPECT_TRUE(found[0].drops);
    EXPECT_FALSE(found[0].names_host_device);
    EXPECT_EQ(found[1].hook, link::FilterChain::Hook::forward);
    EXPECT_FALSE(found[1].drops);
    node().run("nft add rule inet f in iifname netkitd0 udp dport 53 accept");
    found = chains();
    EXPECT_TRUE(std::ranges::any_of(found, &link::FilterChain::names_host_device));
}

TEST_F(FirewallTest, SaysWhichChainsGiveAnyPort) {
    node().run("nft add rule ip t c oifname netkitd0 ct status dnat masquerade");
    EXPECT_THAT(chains_that_give_any_port(), IsEmpty());
    node().run("nft add rule ip t c oifname x counter masquerade random");
    EXPECT_THAT(chains_that_give_any_port(), ElementsAre("ip t c"));
    node().run("nft 'table inet u { chain d { type nat hook postrouting priority 0; snat ip6 to 2001:db8::9; }; }'");
    EXPECT_THAT(chains_that_give_any_port(), UnorderedElementsAre("ip t c", "inet u d"));
    node().run("nft flush ruleset");
    node().run("nft 'table ip t { chain c { type nat hook prerouting priority 0; dnat to 192.0.2.1; }; }'");
    node().run("nft add rule ip t c counter accept");
    EXPECT_THAT(chains_that_give_any_port(), IsEmpty());
}

// As the documents and the doctor recommend it.
TEST_F(FirewallTest, RulesThatNamePortsAreFine) {
    node().run("nft add rule ip t c meta l4proto '{ tcp, udp, icmp, ipv6-icmp }' masquerade to :32768-49151");
    node().run("nft add rule ip t c masquerade");
    node().run("nft 'table ip u { chain d { type nat hook postrouting priority 0; }; }'");
    node().run("nft add rule ip u d ip protocol tcp snat to 192.0.2.1:32768-49151");
    EXPECT_THAT(chains_that_give_any_port(), IsEmpty());
}

TEST_F(FirewallTest, ReadsWhatIptablesLeaves) {
    if (!node().succeeds("iptables -t nat -A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE")) {
        GTEST_SKIP() << "this kernel lacks what iptables needs";
    }
    node().run("ip6tables -t nat -A POSTROUTING -j SNAT --to-source 2001:db8::9");
    EXPECT_THAT(chains_that_give_any_port(), UnorderedElementsAre("ip nat POSTROUTING", "ip6 nat POSTROUTING"));
    node().run("iptables -t nat -I POSTROUTING -p tcp -j MASQUERADE --to-ports 32768-49151");
    EXPECT_THAT(chains_that_give_any_port(), ElementsAre("ip6 nat POSTROUTING"));
    node().run("ip6tables -t nat -I POSTROUTING -p tcp -j MASQUERADE --to-ports 32768-49151");
    EXPECT_THAT(chains_that_give_any_port(), IsEmpty());
    node().run("iptables -t nat -F; iptables -t nat -A POSTROUTING -p tcp -j SNAT --to-source 192.0.2.1:32768-49151");
    node().run("iptables -t nat -A PREROUTING -p tcp -j DNAT --to-destination 192.0.2.1");
    EXPECT_THAT(chains_that_give_any_port(), IsEmpty());
}

}  // namespace
}  // namespace netkitd::test
