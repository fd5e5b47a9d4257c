#include "endpoint/endpoint_table.h"

#include <gtest/gtest.h>

namespace netkitd {
namespace {

constexpr std::uint32_t kWeb = 1;
constexpr std::uint32_t kSuccessor = 2;

EndpointRecord record(std::uint32_t id, const std::string& container, const std::string& address) {
    EndpointRecord result;
    result.id = id;
    result.netns_cookie = 1000 + id;
    result.host_ifindex = 100 + id;
    result.ipv4 = IpAddr::parse(address).value();
    result.members.push_back({.container_id = container, .pid = std::nullopt, .pid_start_time = 0});
    return result;
}

std::uint32_t id_of(const Endpoint* endpoint) {
    return endpoint == nullptr ? 0 : endpoint->record.id;
}

TEST(EndpointTable, FindsAnEndpointByAllThatItIsKnownBy) {
    EndpointTable table;
    table.put({.record = record(kWeb, "web", "10.77.0.2")});
    EXPECT_EQ(id_of(table.find_by_netns(1001)), kWeb);
    EXPECT_EQ(id_of(table.find_by_device(101)), kWeb);
    EXPECT_EQ(id_of(table.find_by_container("web")), kWeb);
    EXPECT_TRUE(table.has_address(IpAddr::parse("10.77.0.2").value()));
    EXPECT_EQ(table.find_by_netns(1), nullptr);
    EXPECT_EQ(table.find_by_device(1), nullptr);
    EXPECT_EQ(table.find_by_container("db"), nullptr);
}

TEST(EndpointTable, WhatIsTakenIsFoundNoMore) {
    EndpointTable table;
    table.put({.record = record(kWeb, "web", "10.77.0.2")});
    EXPECT_EQ(table.take(kWeb).record, record(kWeb, "web", "10.77.0.2"));
    EXPECT_TRUE(table.all().empty());
    EXPECT_EQ(table.find_by_netns(1001), nullptr);
    EXPECT_EQ(table.find_by_device(101), nullptr);
    EXPECT_EQ(table.find_by_container("web"), nullptr);
    EXPECT_FALSE(table.has_address(IpAddr::parse("10.77.0.2").value()));
}

TEST(EndpointTable, AMemberThatLeftIsFoundNoMore) {
    EndpointTable table;
    EndpointRecord pod = record(kWeb, "infra", "10.77.0.2");
    pod.members.push_back({.container_id = "sidecar", .pid = std::nullopt, .pid_start_time = 0});
    table.put({.record = pod});
    EXPECT_EQ(id_of(table.find_by_container("sidecar")), kWeb);
    pod.members.pop_back();
    table.put({.record = pod});
    EXPECT_EQ(table.find_by_container("sidecar"), nullptr);
    EXPECT_EQ(id_of(table.find_by_container("infra")), kWeb);
}

// An attach of a known container puts its successor before it takes the former one, with whom it shares the address.
TEST(EndpointTable, ASuccessorKeepsWhatItTookOver) {
    EndpointTable table;
    table.put({.record = record(kWeb, "web", "10.77.0.2")});
    table.put({.record = record(kSuccessor, "web", "10.77.0.2")});
    EXPECT_EQ(id_of(table.find_by_container("web")), kSuccessor);
    table.take(kWeb);
    EXPECT_EQ(id_of(table.find_by_container("web")), kSuccessor);
    EXPECT_TRUE(table.has_address(IpAddr::parse("10.77.0.2").value()));
    EXPECT_EQ(table.find_by_device(101), nullptr);
}

}  // namespace
}  // namespace netkitd
