// The daemon is killed at random instants, while containers are attached and detached and while it starts. Whatever it
// had told anybody holds afterwards, and kernel, pins and database agree.
#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <random>
#include <set>
#include <shared_mutex>
#include <thread>

#include "abi.h"
#include "harness/daemon_test.h"
#include "link/device.h"
#include "store/store.h"

namespace netkitd::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr int kCustomers = 6;
constexpr int kKillsBetweenLooks = 50;
// Every other kill comes while it starts, which takes some 100 ms; the others a moment after it answers.
constexpr int kLongestStartMs = 160;
constexpr int kLongestServiceMs = 60;

// NETKITD_SHORT=1: for a quick look, or where everything is slow. NETKITD_KILLS=N: for a long one.
int kills() {
    if (const char* const wanted = std::getenv("NETKITD_KILLS"); wanted != nullptr) {
        return std::stoi(wanted);
    }
    return std::getenv("NETKITD_SHORT") == nullptr ? 300 : 50;
}

// Someone with one container, who attaches and detaches it, asks again until there is an answer, and knows what it was.
struct Customer {
    ContainerProcess container;
    std::string id;
    std::optional<std::string> address;  // as it was told
};

class DurabilityTest : public DaemonTest {
protected:
    void SetUp() override {
        DaemonTest::SetUp();
        for (int i = 0; !IsSkipped() && i < kCustomers; ++i) {
            customers_.emplace_back();
            customers_.back().id = formatted("customer-{}", i);
        }
    }

    // Attaches and detaches until `stop`; never stops in between an order and its answer.
    void be_busy(const std::stop_token& stop, Customer& customer) {
        while (!stop.stop_requested()) {
            if (look_wanted_) {
                std::this_thread::sleep_for(1ms);
                continue;
            }
            const std::shared_lock order(orders_);
            if (customer.address) {
                until_answered(stop, [&] { return detach(customer.id); });
                customer.address.reset();
            } else if (const auto reply =
                           until_answered(stop, [&] { return attach(customer.container, customer.id); })) {
                customer.address = reply->at("ipv4").get<std::string>();
                ++attached_;
                expect_interface(customer);
            }
        }
    }

    template <typename Order>
    std::optional<json> until_answered(const std::stop_token& stop, Order order) {
        for (;;) {
            auto reply = order();
            if (reply) {
                return std::move(*reply);
            }
            // Not there, gone before it answered, or on a host that is too busy for it (link/readiness.cpp): all else
            // would be the daemon's own error.
            if (reply.error().kind() != ErrorKind::unavailable && reply.error().system_error() == 0 &&
                !reply.error().message().contains("start the container again")) {
                ADD_FAILURE() << reply.error().message();
            }
            if (stop.stop_requested()) {
                return std::nullopt;
            }
            std::this_thread::sleep_for(2ms);
        }
    }

    static void expect_interface(const Customer& customer) {
        auto netlink = link::Netlink::open_in(customer.container.netns().fd());
        ASSERT_TRUE(netlink);
        const auto device = link::find_device(*netlink, "eth0");
        ASSERT_TRUE(device && *device) << customer.id << " was told yes";
        EXPECT_TRUE((*device)->up);
    }

    // With every order answered and a daemon that runs.
    void expect_agreement() {
        std::set<std::string> addresses;
        std::set<std::string> host_names;
        const json known = endpoints();
        for (const json& endpoint : known) {
            addresses.insert(endpoint.at("ipv4").get<std::string>());
            host_names.insert(endpoint.at("host_interface").get<std::string>());
        }
        std::set<std::string> told;
        for (const Customer& customer : customers_) {
            if (customer.address) {
                EXPECT_TRUE(told.insert(*customer.address).second) << *customer.address << " was given twice";
                EXPECT_TRUE(customer.container.netns().reaches("198.51.100.2")) << customer.id;
            } else {
                EXPECT_FALSE(customer.container.netns().succeeds("ip link show eth0")) << customer.id;
            }
        }
        EXPECT_EQ(addresses, told);
        EXPECT_EQ(known.size(), told.size());
        EXPECT_EQ(pairs(), host_names);
        EXPECT_EQ(pinned_links(), host_names);
        EXPECT_EQ(entries("endpoints4"), told.size());
        EXPECT_EQ(entries("endpoint_drops"), told.size() + 1) << "and the host's";
        EXPECT_EQ(status().at("networks").at(0).at("in_use"), told.size()) << "an address is leaked";
    }

    [[nodiscard]] std::set<std::string> pairs() const {
        std::set<std::string> names;
        auto netlink = link::Netlink::open().value();
        const auto devices = link::list_devices(netlink).value();
        for (const link::Device& device : devices) {
            if (device.name.starts_with("nk")) {
                names.insert(device.name);
            }
        }
        return names;
    }
    [[nodiscard]] std::set<std::string> pinned_links() const {
        std::set<std::string> names;
        for (const auto& pin : std::filesystem::directory_iterator(pins() / "links")) {
            if (pin.path().filename().string().starts_with("nk")) {
                names.insert(pin.path().filename());
            }
        }
        return names;
    }
    // Of a map with keys of four bytes.
    [[nodiscard]] std::size_t entries(const std::string& name) const {
        const UniqueFd map(bpf_obj_get((pins() / "maps" / name).c_str()));
        std::uint32_t key = 0;
        std::size_t count = 0;
        for (int error = bpf_map_get_next_key(map.get(), nullptr, &key); error == 0;
             error = bpf_map_get_next_key(map.get(), &key, &key)) {
            ++count;
        }
        return count;
    }

    std::deque<Customer> customers_;
    std::atomic<bool> look_wanted_ = false;  // readers of a lock would keep its writer waiting for ever
    std::shared_mutex orders_;               // held shared while one is given; exclusively: all are answered
    std::atomic<int> attached_ = 0;
};

TEST_F(DurabilityTest, AThousandKillsLoseNothing) {
    const unsigned seed = std::random_device()();
    SCOPED_TRACE(formatted("seed {}", seed));
    std::mt19937 random(seed);
    std::uniform_int_distribution<int> start_ms(0, kLongestStartMs);
    std::uniform_int_distribution<int> service_ms(0, kLongestServiceMs);
    std::vector<std::jthread> threads;
    for (Customer& customer : customers_) {
        threads.emplace_back([&](const std::stop_token& stop) { be_busy(stop, customer); });
    }
    // On a slow machine more of the kills come before anybody has got an answer: they go on until enough were attached.
    const int wanted = kills() / 4;
    const auto enough = [&](int kill) { return kill > kills() && (attached_ > wanted || kill > 4 * kills()); };
    for (int kill = 1; !enough(kill) && !HasFailure(); ++kill) {
        if (kill % 2 == 0) {
            launch();
            std::this_thread::sleep_for(std::chrono::milliseconds(start_ms(random)));
        } else {
            ASSERT_TRUE(start());
            std::this_thread::sleep_for(std::chrono::milliseconds(service_ms(random)));
        }
        stop(SIGKILL);
        if (kill % kKillsBetweenLooks == 0) {
            ASSERT_TRUE(start());
            look_wanted_ = true;
            const std::unique_lock all_answered(orders_);
            expect_agreement();
            look_wanted_ = false;
            stop(SIGKILL);
        }
    }
    ASSERT_TRUE(start());
    for (auto& thread : threads) {
        thread.request_stop();
    }
    threads.clear();
    EXPECT_GT(attached_, wanted) << "so few were attached that the kills meant nothing";
    for (Customer& customer : customers_) {
        EXPECT_TRUE(detach(customer.id));
        customer.address.reset();
    }
    expect_agreement();
    stop(SIGTERM);
    auto store = Store::open(scratch("state/state.db"), read_boot_id().value());
    ASSERT_TRUE(store) << store.error().message();
    EXPECT_TRUE(store->endpoints()->empty());
}

}  // namespace
}  // namespace netkitd::test
