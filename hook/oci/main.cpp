// netkit-hook: what an OCI runtime starts at createRuntime and poststop. It reads the container's state, opens the
// container's network namespace, asks netkitd, and says why if that failed. Exit status: 0 the container is attached
// (or detached), 1 it is not, 2 the command line is wrong.
#include <unistd.h>

#include <exception>

#include <nlohmann/json.hpp>

#include "base/quote.h"
#include "ipc/client.h"
#include "oci/action.h"
#include "oci/container_files.h"
#include "oci/container_process.h"
#include "oci/input.h"
#include "oci/oci_state.h"
#include "oci/options.h"
#include "oci/report.h"

namespace netkitd::hook {
namespace {

using Clock = std::chrono::steady_clock;

// What the daemon could not do although the container is attached: "IPv4 only: …".
void report_notes(const std::string& id, const nlohmann::json& reply) {
    const auto notes = reply.find("notes");
    if (notes == reply.end() || !notes->is_array()) {
        return;
    }
    for (const nlohmann::json& note : *notes) {
        if (note.is_string()) {
            report_note(formatted("container {}: {}", quote(id), note.get_ref<const std::string&>()));
        }
    }
}

using Milliseconds = std::chrono::milliseconds;

Milliseconds left_until(Clock::time_point end) {
    return std::max(std::chrono::ceil<Milliseconds>(end - Clock::now()), Milliseconds(1));
}

Result<void> attach(const Options& options, const OciState& state, Clock::time_point end) {
    ContainerProcess process = NK_TRY(open_container_process(state.pid));
    ipc::Request request{.operation = ipc::Operation::attach,
                         .id = state.id,
                         .pid = state.pid,
                         .annotations = state.annotations,
                         .netns = std::move(process.netns),
                         .pidfd = std::move(process.pidfd)};
    const nlohmann::json reply = NK_TRY(ipc::call(options.socket_path, request, left_until(end)));
    request.netns.reset();
    process.pidfd = std::move(request.pidfd);
    report_notes(state.id, reply);
    // It has a network; without names many do their work all the same.
    if (const auto put = put_container_files(process, state, reply); !put) {
        report_note(formatted("container {}: its /etc/resolv.conf or /etc/hosts could not be written: {}",
                              quote(state.id), put.error().message()));
    }
    return {};
}

Result<void> serve(const Options& options, const OciState& state, Clock::time_point end) {
    if (NK_TRY(decide(options.stage, state)) == Action::attach) {
        return attach(options, state, end);
    }
    const ipc::Request request{.operation = ipc::Operation::stopped, .id = state.id};
    report_notes(state.id, NK_TRY(ipc::call(options.socket_path, request, left_until(end))));
    return {};
}

Result<void> run(const Options& options) {
    const auto end = Clock::now() + options.deadline;
    // First of all, whatever else is wrong: the runtime blocks until its write is taken.
    const std::string input = NK_TRY(read_to_end(STDIN_FILENO, end));
    NK_TRY(refuse_user_namespace());
    const OciState state = NK_TRY(parse_oci_state(input));
    return with_context(serve(options, state, end), formatted("container {}", quote(state.id)));
}

int main_result(int argc, char** argv) {
    const Result<Options> options = parse_options(argc, argv);
    if (!options) {
        report_failure(options.error().message());
        return 2;
    }
    if (options->help) {
        return ::write(STDOUT_FILENO, kUsage.data(), kUsage.size()) == static_cast<ssize_t>(kUsage.size()) ? 0 : 1;
    }
    if (const Result<void> done = run(*options); !done) {
        report_failure(done.error().message());
        return 1;
    }
    return 0;
}

}  // namespace
}  // namespace netkitd::hook

int main(int argc, char** argv) {
    // The edge of the JSON library and of memory: a container must not start because a hook died of a signal.
    try {
        return netkitd::hook::main_result(argc, argv);
    } catch (const std::exception& error) {
        netkitd::hook::report_failure(error.what());
        return 1;
    }
}
