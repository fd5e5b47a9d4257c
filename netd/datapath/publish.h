// Packets read the node's configuration while it is written, so one store makes the difference each time.
#pragma once

namespace netkitd::datapath {

template <typename T>
void publish(T& place, T value) {
    __atomic_store_n(&place, value, __ATOMIC_RELEASE);
}

}  // namespace netkitd::datapath
