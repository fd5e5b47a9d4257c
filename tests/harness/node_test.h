// A node in a network namespace of its own, in this process: real devices, real programs, a real database, no daemon.
// Its containers have netkit devices where the kernel has them (in the VM), else veth (natively).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "datapath/datapath.h"
#include "endpoint/manager.h"
#include "endpoint/plumbing.h"
#include "harness/failing_plumbing.h"
#include "harness/host_test.h"
#include "netlink/socket.h"
#include "node/node_network.h"
#include "store/store.h"

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

class NodeTest : public HostTest {
protected:
    void SetUp() override;
    void TearDown() override;

    // (Re)starts the node as a new daemon would: opens everything again, and restores.
    void start();
    void stop();
    // start(), or why not.
    [[nodiscard]] Result<void> try_start();

    [[nodiscard]] Result<AttachReply> attach(const NetworkNamespace& container, const std::string& id,
                                             AttachOptions options = {});
    // Everything that an attach may change, as text: what must be equal before and after one that failed.
    [[nodiscard]] std::string snapshot(const NetworkNamespace& container);

    [[nodiscard]] EndpointManager& manager() { return *running_->manager; }
    [[nodiscard]] FailingPlumbing& plumbing() { return *running_->failing; }
    [[nodiscard]] Store& store() { return *running_->store; }
    [[nodiscard]] datapath::Datapath& datapath() { return *running_->datapath; }
    [[nodiscard]] NodeNetwork& network() { return *running_->network; }

    FakeProcessWatch watch_;
    Config config_ = default_config();
    // Called by start() before the endpoints are taken up.
    std::function<void(FailingPlumbing&)> before_restore_ = [](FailingPlumbing&) {};

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
};

}  // namespace netkitd::test
