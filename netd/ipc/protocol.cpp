#include "ipc/protocol.h"

#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

#include "base/annotation_prefix.h"
#include "base/ip_protocol.h"
#include "base/quote.h"
#include "ipc/strict_json.h"

namespace netkitd::ipc {
namespace {

using nlohmann::json;

// {"annotations":{…}} and ["netns"] are the deepest things in a request.
constexpr std::size_t kRequestDepth = 2;
// Replies hold lists of objects that hold lists; what a later daemon may add fits too.
constexpr std::size_t kReplyDepth = 16;
// Of SCM_RIGHTS' descriptors, by name.
constexpr std::string_view kNetnsName = "netns";
constexpr std::string_view kPidfdName = "pidfd";

struct OperationForm {
    Operation operation;
    std::string_view name;
    bool has_id;
    bool has_process;        // fds, pid, annotations
    bool has_flows = false;  // filter
    bool has_all = false;
};

constexpr std::array<OperationForm, 9> kForms{{
    {Operation::attach, "attach", true, true},
    {Operation::detach, "detach", true, false},
    {Operation::stopped, "stopped", true, false},
    {Operation::status, "status", false, false},
    {Operation::endpoint_list, "endpoint-list", false, false},
    {Operation::endpoint_show, "endpoint-show", true, false},
    {Operation::port_list, "port-list", false, false},
    {Operation::flow_list, "flow-list", false, false, true},
    {Operation::flow_flush, "flow-flush", false, false, true, true},
}};

const OperationForm& form_of(Operation operation) {
    return *std::ranges::find(kForms, operation, &OperationForm::operation);
}

bool is_control(char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

bool is_alphanumeric(char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

Result<void> check_annotation(const std::string& key, const std::string& value) {
    if (!key.starts_with(kAnnotationPrefix)) {
        return fail(ErrorKind::invalid, "annotation {}: only {}* are netkitd's", quote(key), kAnnotationPrefix);
    }
    if (key.size() + value.size() > kMaxAnnotationBytes) {
        return fail(ErrorKind::invalid, "annotation {}: key and value are {} bytes, at most {} are allowed", quote(key),
                    key.size() + value.size(), kMaxAnnotationBytes);
    }
    if (std::ranges::any_of(key, is_control) || std::ranges::any_of(value, is_control)) {
        return fail(ErrorKind::invalid, "annotation {}: control characters are not allowed", quote(key));
    }
    return {};
}

// What a person names an endpoint by, who need not know an id.
Result<void> check_endpoint_word(const std::string& word) {
    return IpAddr::parse(word) ? Result<void>{} : check_id(word);
}

// What holds for a request on either side of the socket.
Result<void> check_request(const Request& request) {
    const OperationForm& form = form_of(request.operation);
    if (form.has_id) {
        NK_TRY(request.operation == Operation::endpoint_show ? check_endpoint_word(request.id) : check_id(request.id));
    }
    if (form.has_flows && request.flows.endpoint) {
        NK_TRY_CONTEXT("filter.endpoint", check_endpoint_word(*request.flows.endpoint));
    }
    if (form.has_all && request.all != request.flows.is_everything()) {
        return fail(ErrorKind::invalid, "{} needs a filter, or all, and not both", form.name);
    }
    if (!form.has_process) {
        return {};
    }
    if (!request.netns) {
        return fail(ErrorKind::invalid, "attach needs a netns descriptor");
    }
    if (request.pid.has_value() != static_cast<bool>(request.pidfd)) {
        return fail(ErrorKind::invalid, "attach needs pid and pidfd together, or neither");
    }
    if (request.pid && *request.pid <= 0) {
        return fail(ErrorKind::invalid, "pid {} is not a process", *request.pid);
    }
    if (request.annotations.size() > kMaxAnnotations) {
        return fail(ErrorKind::invalid, "{} annotations, at most {} are allowed", request.annotations.size(),
                    kMaxAnnotations);
    }
    for (const auto& [key, value] : request.annotations) {
        NK_TRY(check_annotation(key, value));
    }
    return {};
}

Result<void> check_version(const json& message) {
    const auto version = message.find("version");
    if (version == message.end() || !version->is_number_integer()) {
        return fail(ErrorKind::invalid, "no protocol version");
    }
    if (*version != kProtocolVersion) {
        return fail(
            ErrorKind::invalid,
            "protocol version {}, but this side speaks {}: netkitd, netkitctl and the hook must be of one version",
            version->dump(), kProtocolVersion);
    }
    return {};
}

Result<const OperationForm*> read_operation(const json& message) {
    const auto op = message.find("op");
    if (op == message.end() || !op->is_string()) {
        return fail(ErrorKind::invalid, "no op");
    }
    const auto& name = op->get_ref<const std::string&>();
    const auto* form = std::ranges::find(kForms, name, &OperationForm::name);
    if (form == kForms.end()) {
        return fail(ErrorKind::invalid, "unknown op {}", quote(name));
    }
    return form;
}

Result<void> check_keys(const json& message, const OperationForm& form) {
    for (const auto& [key, value] : message.items()) {
        const bool common = key == "version" || key == "op";
        const bool id = form.has_id && key == "id";
        const bool process = form.has_process && (key == "fds" || key == "pid" || key == "annotations");
        const bool flows = (form.has_flows && key == "filter") || (form.has_all && key == "all");
        if (!common && !id && !process && !flows) {
            return fail(ErrorKind::invalid, "{} has no key {}", form.name, quote(key));
        }
    }
    return {};
}

Result<void> read_id(const json& message, Request& request) {
    const auto id = message.find("id");
    if (id == message.end() || !id->is_string()) {
        return fail(ErrorKind::invalid, "id must be a string");
    }
    request.id = id->get<std::string>();
    return {};
}

Result<void> read_pid(const json& message, Request& request) {
    const auto pid = message.find("pid");
    if (pid == message.end()) {
        return {};
    }
    // A negative number is signed, so this leaves 0…2^64-1.
    if (!pid->is_number_unsigned() || pid->get<std::uint64_t>() > INT32_MAX) {
        return fail(ErrorKind::invalid, "pid must be a process id");
    }
    request.pid = pid->get<std::int32_t>();
    return {};
}

Result<void> read_annotations(const json& message, Request& request) {
    const auto annotations = message.find("annotations");
    if (annotations == message.end()) {
        return {};
    }
    if (!annotations->is_object()) {
        return fail(ErrorKind::invalid, "annotations must be an object");
    }
    for (const auto& [key, value] : annotations->items()) {
        if (!value.is_string()) {
            return fail(ErrorKind::invalid, "annotation {} must be a string", quote(key));
        }
        request.annotations.emplace(key, value.get<std::string>());
    }
    return {};
}

Result<std::string> filter_text(std::string_view key, const json& value) {
    if (!value.is_string()) {
        return fail(ErrorKind::invalid, "filter.{} must be a string", key);
    }
    return value.get<std::string>();
}

Result<void> read_filter_key(const std::string& key, const json& value, FlowSelection& flows) {
    if (key == "endpoint") {
        flows.endpoint = NK_TRY(filter_text(key, value));
    } else if (key == "proto") {
        const std::string name = NK_TRY(filter_text(key, value));
        flows.protocol = protocol_from(name);
        if (!flows.protocol) {
            return fail(ErrorKind::invalid, "filter.proto: {} is none of {}", quote(name), protocol_names());
        }
    } else if (key == "destination") {
        flows.destination = NK_TRY_CONTEXT("filter.destination", IpPrefix::parse(NK_TRY(filter_text(key, value))));
    } else if (key == "port") {
        if (!value.is_number_unsigned() || value.get<std::uint64_t>() > UINT16_MAX) {
            return fail(ErrorKind::invalid, "filter.port must be a port");
        }
        flows.port = value.get<std::uint16_t>();
    } else if (key == "hosts") {
        if (!value.is_boolean()) {
            return fail(ErrorKind::invalid, "filter.hosts must be true or false");
        }
        flows.hosts = value.get<bool>();
    } else {
        return fail(ErrorKind::invalid, "filter has no key {}", quote(key));
    }
    return {};
}

Result<void> read_flows(const json& message, Request& request) {
    if (const auto filter = message.find("filter"); filter != message.end()) {
        if (!filter->is_object()) {
            return fail(ErrorKind::invalid, "filter must be an object");
        }
        for (const auto& [key, value] : filter->items()) {
            NK_TRY(read_filter_key(key, value, request.flows));
        }
    }
    if (const auto all = message.find("all"); all != message.end()) {
        if (!all->is_boolean()) {
            return fail(ErrorKind::invalid, "all must be true or false");
        }
        request.all = all->get<bool>();
    }
    return {};
}

json flows_json(const FlowSelection& flows) {
    json filter = json::object();
    if (flows.endpoint) {
        filter["endpoint"] = *flows.endpoint;
    }
    if (flows.protocol) {
        filter["proto"] = protocol_name(*flows.protocol);
    }
    if (flows.destination) {
        filter["destination"] = flows.destination->to_string();
    }
    if (flows.port) {
        filter["port"] = *flows.port;
    }
    if (flows.hosts) {
        filter["hosts"] = true;
    }
    return filter;
}

// The place in `request` that a descriptor's name stands for, if it is free.
Result<UniqueFd*> descriptor_slot(const json& name, Request& request) {
    if (name.is_string()) {
        const auto& text = name.get_ref<const std::string&>();
        UniqueFd* slot = text == kNetnsName ? &request.netns : text == kPidfdName ? &request.pidfd : nullptr;
        if (slot != nullptr && !*slot) {
            return slot;
        }
    }
    return fail(ErrorKind::invalid, "fds must name netns, and pidfd if there is one, once each");
}

Result<void> read_descriptors(const json& message, std::vector<UniqueFd> descriptors, Request& request) {
    const auto names = message.find("fds");
    if (names != message.end() && !names->is_array()) {
        return fail(ErrorKind::invalid, "fds must be an array");
    }
    const std::size_t announced = names == message.end() ? 0 : names->size();
    if (announced != descriptors.size()) {
        return fail(ErrorKind::invalid, "{} descriptors announced, {} received", announced, descriptors.size());
    }
    for (std::size_t i = 0; i < announced; ++i) {
        *NK_TRY(descriptor_slot(names->at(i), request)) = std::move(descriptors.at(i));
    }
    return {};
}

Result<Request> read_request(const json& message, std::vector<UniqueFd> descriptors) {
    if (!message.is_object()) {
        return fail(ErrorKind::invalid, "not a JSON object");
    }
    NK_TRY(check_version(message));
    const OperationForm& form = *NK_TRY(read_operation(message));
    NK_TRY(check_keys(message, form));
    Request request{.operation = form.operation};
    if (form.has_id) {
        NK_TRY(read_id(message, request));
    }
    if (form.has_process) {
        NK_TRY(read_pid(message, request));
        NK_TRY(read_annotations(message, request));
    }
    if (form.has_flows) {
        NK_TRY(read_flows(message, request));
    }
    NK_TRY(read_descriptors(message, std::move(descriptors), request));
    NK_TRY(check_request(request));
    return request;
}

json request_json(const Request& request) {
    const OperationForm& form = form_of(request.operation);
    json message{{"version", kProtocolVersion}, {"op", form.name}};
    if (form.has_id) {
        message["id"] = request.id;
    }
    if (form.has_process) {
        message["fds"] = request.pidfd ? json::array({kNetnsName, kPidfdName}) : json::array({kNetnsName});
        message["annotations"] = request.annotations;
        if (request.pid) {
            message["pid"] = *request.pid;
        }
    }
    if (form.has_flows && !request.flows.is_everything()) {
        message["filter"] = flows_json(request.flows);
    }
    if (form.has_all && request.all) {
        message["all"] = true;
    }
    return message;
}

Result<json> read_reply(const json& message) {
    if (!message.is_object()) {
        return fail(ErrorKind::internal, "not a JSON object");
    }
    NK_TRY(check_version(message));
    const auto ok = message.find("ok");
    if (ok != message.end() && ok->is_boolean() && ok->get<bool>()) {
        const auto result = message.find("result");
        if (result != message.end() && result->is_object()) {
            return *result;
        }
    }
    const auto error = message.find("error");
    if (ok == message.end() || *ok != false || error == message.end() || !error->is_object() ||
        !error->contains("code") || !error->at("code").is_string() || !error->contains("message") ||
        !error->at("message").is_string()) {
        return fail(ErrorKind::internal, "neither a result nor an error");
    }
    return std::unexpected(Error(error_kind_from(error->at("code").get_ref<const std::string&>()),
                                 error->at("message").get<std::string>()));
}

}  // namespace

Result<void> check_id(std::string_view id) {
    if (id.empty() || id.size() > kMaxIdBytes) {
        return fail(ErrorKind::invalid, "the id is {} bytes long, 1 to {} are allowed", id.size(), kMaxIdBytes);
    }
    const auto allowed = [](char c) { return is_alphanumeric(c) || c == '_' || c == '.' || c == '-' || c == '+'; };
    if (!is_alphanumeric(id.front()) || !std::ranges::all_of(id, allowed)) {
        return fail(ErrorKind::invalid,
                    "id {}: only letters, digits and _ . + - are allowed, the first a letter or digit", quote(id));
    }
    return {};
}

Result<std::string> encode_request(const Request& request) {
    NK_TRY(check_request(request));
    try {
        std::string message = request_json(request).dump();
        if (message.size() > kMaxMessageBytes) {
            return fail(ErrorKind::invalid,
                        "the request is {} bytes long, at most {} are allowed: shorten its annotations", message.size(),
                        kMaxMessageBytes);
        }
        return message;
    } catch (const json::exception&) {
        return fail(ErrorKind::invalid, "an annotation is not valid UTF-8");
    }
}

std::vector<int> descriptors_of(const Request& request) {
    std::vector<int> descriptors;
    for (const UniqueFd* fd : {&request.netns, &request.pidfd}) {
        if (*fd) {
            descriptors.push_back(fd->get());
        }
    }
    return descriptors;
}

Result<Request> decode_request(std::string_view message, std::vector<UniqueFd> descriptors) {
    if (message.size() > kMaxMessageBytes) {
        return fail(ErrorKind::invalid, "request: {} bytes long, at most {} are allowed", message.size(),
                    kMaxMessageBytes);
    }
    const json tree = NK_TRY_CONTEXT("request", parse_strict_json(message, kRequestDepth));
    return with_context(read_request(tree, std::move(descriptors)), "request");
}

std::string encode_reply(const Result<json>& result) {
    json message{{"version", kProtocolVersion}, {"ok", result.has_value()}};
    if (result) {
        message["result"] = *result;
    } else {
        message["error"] = {{"code", to_string(result.error().kind())}, {"message", result.error().message()}};
    }
    return message.dump(-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace);
}

Result<json> decode_reply(std::string_view message) {
    const auto tree = parse_strict_json(message, kReplyDepth);
    if (!tree) {
        return fail(ErrorKind::internal, "netkitd's reply: {}", tree.error().message());
    }
    return read_reply(*tree);
}

}  // namespace netkitd::ipc
