# What a source in hook/ can include: with the include path that the target netkit-hook has, every header of netd/base and
# the two of the protocol are found, and no other header of the daemon is.
#   cmake -DCOMPILER=… -DINCLUDES=dir;dir -DSOURCE_DIR=… -DWORK_DIR=… -P hook_includes.cmake
file(GLOB_RECURSE headers RELATIVE ${SOURCE_DIR}/netd ${SOURCE_DIR}/netd/*.h)
list(TRANSFORM INCLUDES PREPEND -I OUTPUT_VARIABLE flags)

# One run of the preprocessor leaves a line "found HEADER" for each that an #include would find.
set(probe "")
foreach(header IN LISTS headers)
  string(APPEND probe "#if __has_include(\"${header}\")\nfound ${header}\n#endif\n")
endforeach()
file(WRITE ${WORK_DIR}/probe.cpp "${probe}")
execute_process(COMMAND ${COMPILER} -std=c++23 ${flags} -E -P ${WORK_DIR}/probe.cpp
  OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "found [^\n]+" found "${output}")
list(TRANSFORM found REPLACE "^found " "")

set(doors ${headers})
list(FILTER doors INCLUDE REGEX "^base/[^/]*$|^ipc/(protocol|client)\\.h$")
list(LENGTH headers header_count)
list(LENGTH doors door_count)
if(door_count LESS 5 OR header_count LESS 15)
  message(FATAL_ERROR "${header_count} headers, ${door_count} of them for the doors: this test looks in the wrong place")
endif()
list(SORT found)
list(SORT doors)
if(NOT found STREQUAL doors)
  message(FATAL_ERROR "hook/ is meant to see ${doors}\nbut it sees ${found}")
endif()

# And what that means to somebody who tries.
file(WRITE ${WORK_DIR}/include.cpp "#include \"endpoint/ipam.h\"\n")
execute_process(COMMAND ${COMPILER} -std=c++23 ${flags} -fsyntax-only ${WORK_DIR}/include.cpp
  RESULT_VARIABLE status ERROR_VARIABLE errors)
if(status EQUAL 0 OR NOT errors MATCHES "endpoint/ipam\\.h[^\n]*(No such file|file not found)")
  message(FATAL_ERROR "an #include of the daemon's endpoint/ipam.h compiles in hook/: ${errors}")
endif()

# A path that climbs out would get around the include path.
file(GLOB sources ${SOURCE_DIR}/hook/*.h ${SOURCE_DIR}/hook/*.cpp)
foreach(source IN LISTS sources)
  file(STRINGS ${source} climbing REGEX "#include.*\\.\\./")
  if(climbing)
    message(FATAL_ERROR "${source}: ${climbing}")
  endif()
endforeach()
message(STATUS "of ${header_count} headers, hook/ sees ${door_count}")
