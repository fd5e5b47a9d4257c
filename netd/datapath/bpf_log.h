// What libbpf and the verifier say while an object of this class lives, so that an error can carry it.
#pragma once

#include <string>

namespace netkitd::datapath {

// libbpf has one print callback per process: at most one BpfLog at a time, and only on one thread.
class BpfLog {
public:
    BpfLog();
    ~BpfLog();
    BpfLog(const BpfLog&) = delete;
    BpfLog& operator=(const BpfLog&) = delete;

    // The end of what was said: a verifier's log says at its end what is wrong.
    [[nodiscard]] std::string tail() const;

private:
    std::string text_;
};

}  // namespace netkitd::datapath
