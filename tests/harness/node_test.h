// A node in a network namespace of its own, in this process: real devices, real programs, a real database, no daemon.
// Its containers have netkit devices where the kernel has them (in the VM), else veth (natively).
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "datapath/datapath.h"
#include "endpoint/manager.h"
#include "endpoint/plumbing.h"
#include "endpoint/store.h"
#include "harness/failing_plumbing.h"
#include "harness/netns.h"
#include "link/netlink.h"
#include "node/node_network.h"

namespace netkitd::test {

// Remembers what is watched; a test says itself when a process ends.
class FakeProcessWatch final : public ProcessWatch {
public:
    Result<void> watch(const std::string& container_id, UniqueFd /*pidfd*/) override {
        watched.insert(container_id);
        return {};
    }
    void forget(const std::string& container_id) override { watched.erase(container_id); }

    std::set<std::string> watched;
};

// The node has an uplink, `up0`, 198.51.100.1/24, to `outside` (198.51.100.2), which is its default route.
class NodeTest : public NetnsTest {
protected:
    void SetUp() override;
    void TearDown() override;

    // (Re)starts the node as a new daemon would: opens everything again, and restores.
    void start();
    void stop();

    [[nodiscard]] Result<AttachReply> attach(const NetworkNamespace& container, const std::string& id,
                                             AttachOptions options = {});
    // Everything that an attach may change, as text: what must be equal before and after one that failed.
    [[nodiscard]] std::string snapshot(const NetworkNamespace& container);

    // A file of the test's own.
    [[nodiscard]] std::string scratch(const std::string& name) const { return directory_ / name; }

    [[nodiscard]] EndpointManager& manager() { return *running_->manager; }
    [[nodiscard]] FailingPlumbing& plumbing() { return *running_->failing; }
    [[nodiscard]] Store& store() { return *running_->store; }
    [[nodiscard]] datapath::Datapath& datapath() { return *running_->datapath; }
    [[nodiscard]] const NetworkNamespace& outside() const { return *outside_; }

    FakeProcessWatch watch_;
    Config config_ = default_config();

private:
    struct Running {
        std::unique_ptr<Store> store;
        std::unique_ptr<link::Netlink> host;
        std::unique_ptr<datapath::Datapath> datapath;
        std::unique_ptr<NodeNetwork> network;
        std::unique_ptr<KernelPlumbing> kernel;
        std::unique_ptr<FailingPlumbing> failing;
        std::unique_ptr<EndpointManager> manager;
    };
    std::optional<Running> running_;
    std::optional<NetworkNamespace> outside_;
    std::filesystem::path directory_;
    std::filesystem::path bpffs_;
};

}  // namespace netkitd::test
