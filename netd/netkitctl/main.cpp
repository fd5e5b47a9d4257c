#include <iostream>

#include "netkitctl/netkitctl.h"

int main(int argc, char** argv) {
    return netkitd::ctl::run(argc, argv, std::cout, std::cerr);
}
