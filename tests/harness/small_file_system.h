// A file system that is soon full, on a directory, in a mount namespace that only this process and its children see.
#pragma once

#include <sched.h>
#include <sys/mount.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

namespace netkitd::test {

class SmallFileSystem {
public:
    explicit SmallFileSystem(std::filesystem::path where)
        : where_(std::move(where)),
          mounted_(unshare(CLONE_NEWNS) == 0 && mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) == 0 &&
                   mount("tmpfs", where_.c_str(), "tmpfs", 0, kOptions) == 0) {}
    ~SmallFileSystem() {
        if (mounted_) {
            umount2(where_.c_str(), MNT_DETACH);
        }
    }
    SmallFileSystem(const SmallFileSystem&) = delete;
    SmallFileSystem& operator=(const SmallFileSystem&) = delete;
    SmallFileSystem(SmallFileSystem&&) = delete;
    SmallFileSystem& operator=(SmallFileSystem&&) = delete;

    // False without the right to mount.
    [[nodiscard]] bool mounted() const { return mounted_; }
    [[nodiscard]] bool make_read_only() const {
        return mount("", where_.c_str(), "", MS_REMOUNT | MS_RDONLY, kOptions) == 0;
    }
    [[nodiscard]] bool make_writable() const { return mount("", where_.c_str(), "", MS_REMOUNT, kOptions) == 0; }
    void fill() const { std::ofstream(filler()) << std::string(1024UL * 1024, 'x'); }
    void make_room() const { std::filesystem::remove(filler()); }

private:
    static constexpr const char* kOptions = "size=256k";
    [[nodiscard]] std::filesystem::path filler() const { return where_ / "filler"; }

    std::filesystem::path where_;
    bool mounted_;
};

}  // namespace netkitd::test
