# The daemons of other versions that upgrade_test.cpp upgrades from and to: the first one, out of the repository's history,
# and one that is to come. They are built with this tree, without tests.
include(ExternalProject)
set(first_version e04482fafb69a909afdedffd3eb84fa63f1c9505)

# nk_netkitd(NAME [ExternalProject_Add's arguments]): builds a netkitd in a tree beside this one: from there, what the
# compiler is told is the same, so that its cache has most of the objects already.
function(nk_netkitd name)
  ExternalProject_Add(${name}_netkitd
    BINARY_DIR ${CMAKE_BINARY_DIR}-${name}
    CMAKE_ARGS -DNETKITD_TESTS=OFF -DCMAKE_BUILD_TYPE=${CMAKE_BUILD_TYPE}
      -DCMAKE_CXX_FLAGS_RELWITHDEBINFO=${CMAKE_CXX_FLAGS_RELWITHDEBINFO}
      -DCMAKE_C_COMPILER_LAUNCHER=${CMAKE_C_COMPILER_LAUNCHER} -DCMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER}
      -DNETKITD_NEXT_VERSION=$<STREQUAL:${name},next>
    BUILD_COMMAND ${CMAKE_COMMAND} --build <BINARY_DIR> --target netkitd
    INSTALL_COMMAND "" ${ARGN})
endfunction()

# nk_netkitds_of_upgrades(TARGET): tells TARGET where they are: NEXT_NETKITD and FIRST_NETKITD, empty if there is none.
function(nk_netkitds_of_upgrades target)
  set(next "")
  set(first "")
  if(NOT NETKITD_SANITIZE)
    nk_netkitd(next SOURCE_DIR ${PROJECT_SOURCE_DIR} BUILD_ALWAYS ON)
    set(next ${CMAKE_BINARY_DIR}-next/netd/netkitd)
    set(git git -c safe.directory=* -C ${PROJECT_SOURCE_DIR})
    execute_process(COMMAND ${git} cat-file -e ${first_version}^{commit} RESULT_VARIABLE missing ERROR_QUIET)
    if(NOT missing)
      set(archive ${CMAKE_CURRENT_BINARY_DIR}/first.tar)
      nk_netkitd(first SOURCE_DIR ${CMAKE_CURRENT_BINARY_DIR}/first-source
        DOWNLOAD_COMMAND ${git} archive --output ${archive} ${first_version}
        COMMAND ${CMAKE_COMMAND} -E chdir <SOURCE_DIR> ${CMAKE_COMMAND} -E tar xf ${archive})
      set(first ${CMAKE_BINARY_DIR}-first/netd/netkitd)
    endif()
  endif()
  target_compile_definitions(${target} PRIVATE NEXT_NETKITD="${next}" FIRST_NETKITD="${first}")
endfunction()
