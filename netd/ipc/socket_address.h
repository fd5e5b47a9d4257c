// The address of a Unix socket that has a path (unix(7)).
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <string_view>

#include "base/quote.h"
#include "base/result.h"

namespace netkitd::ipc {

class SocketAddress {
public:
    [[nodiscard]] static Result<SocketAddress> of_path(std::string_view path) {
        SocketAddress result;
        // One byte is for the terminating NUL; a leading one would mean the abstract namespace.
        constexpr std::size_t kMaxPath = sizeof(result.address_.sun_path) - 1;
        if (path.empty() || path.size() > kMaxPath || path.contains('\0')) {
            return fail(ErrorKind::invalid, "socket path {}: {} bytes long, 1 to {} are allowed", quote(path),
                        path.size(), kMaxPath);
        }
        result.address_.sun_family = AF_UNIX;
        std::ranges::copy(path, std::ranges::begin(result.address_.sun_path));
        return result;
    }

    // The form that connect(2) and bind(2) take.
    [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address_); }
    [[nodiscard]] socklen_t size() const { return sizeof(address_); }

private:
    SocketAddress() = default;
    sockaddr_un address_{};
};

}  // namespace netkitd::ipc
