#include "datapath/source_lists.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "abi.h"
#include "base/format.h"
#include "datapath/address.h"

namespace netkitd::datapath {
namespace {

nk_source_key key_of(std::uint32_t number, const IpPrefix& prefix) {
    constexpr std::uint32_t kNumberBits = 32;
    return {.length = kNumberBits + prefix.length(), .list = number, .addr = to_nk_addr(prefix.address())};
}

}  // namespace

Result<void> SourceLists::write(std::uint32_t number, const std::vector<IpPrefix>& prefixes) const {
    for (const IpPrefix& prefix : prefixes) {
        const nk_source_key key = key_of(number, prefix);
        const std::uint32_t value = 1;
        if (bpf_map_update_elem(map_, &key, &value, BPF_ANY) != 0) {
            Result<void> failed = fail_errno(errno, "let {} come to a published port", prefix.to_string());
            keep_first(failed, erase(number, prefixes));
            return failed;
        }
    }
    return {};
}

Result<void> SourceLists::erase(std::uint32_t number, const std::vector<IpPrefix>& prefixes) const {
    Result<void> result;
    for (const IpPrefix& prefix : prefixes) {
        const nk_source_key key = key_of(number, prefix);
        if (bpf_map_delete_elem(map_, &key) != 0 && errno != ENOENT) {
            keep_first(result, fail_errno(errno, "forget who may come to a published port"));
        }
    }
    return result;
}

// 0 stands for everybody, and is no list's.
Result<std::uint32_t> SourceLists::take(const std::vector<IpPrefix>& prefixes, IpFamily family) {
    if (prefixes.empty()) {
        return 0;
    }
    Content content(family, {});
    std::ranges::copy_if(prefixes, std::back_inserter(content.second),
                         [&](const IpPrefix& prefix) { return prefix.address().family() == family; });
    if (const auto known = numbers_.find(content); known != numbers_.end()) {
        ++lists_.at(known->second).uses;
        return known->second;
    }
    const std::uint32_t number = ++last_number_;
    NK_TRY(write(number, content.second));
    numbers_.emplace(content, number);
    lists_.emplace(number, List{.content = std::move(content), .uses = 1});
    return number;
}

Result<void> SourceLists::leave(std::uint32_t number) {
    const auto list = lists_.find(number);
    if (list == lists_.end() || --list->second.uses > 0) {
        return {};
    }
    const Content content = std::move(list->second.content);
    lists_.erase(list);
    numbers_.erase(content);
    return erase(number, content.second);
}

}  // namespace netkitd::datapath
