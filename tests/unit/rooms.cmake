# What a target's sources can include of netd/: the headers of these rooms, and no other.
#   cmake -DCOMPILER=… -DINCLUDES=dir;dir -DSEES="base ipc/protocol.h" -DSOURCE_DIR=… -DWORK_DIR=… -P rooms.cmake
# SEES: folders of netd/, and single headers.
file(GLOB_RECURSE headers RELATIVE ${SOURCE_DIR}/netd ${SOURCE_DIR}/netd/*.h)
list(LENGTH headers header_count)
if(header_count LESS 50)
  message(FATAL_ERROR "netd/ has ${header_count} headers: this test looks in the wrong place")
endif()
list(TRANSFORM INCLUDES PREPEND -I OUTPUT_VARIABLE flags)

# One run of the preprocessor leaves a line "found HEADER" for each that an #include would find.
set(probe "")
foreach(header IN LISTS headers)
  string(APPEND probe "#if __has_include(\"${header}\")\nfound ${header}\n#endif\n")
endforeach()
file(MAKE_DIRECTORY ${WORK_DIR})
file(WRITE ${WORK_DIR}/probe.cpp "${probe}")
execute_process(COMMAND ${COMPILER} -std=c++23 ${flags} -E -P ${WORK_DIR}/probe.cpp
  OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "found [^\n]+" found "${output}")
list(TRANSFORM found REPLACE "^found " "")

set(wanted "")
separate_arguments(SEES)
foreach(room IN LISTS SEES)
  set(of_room ${headers})
  list(FILTER of_room INCLUDE REGEX "^${room}(/|$)")
  if(of_room STREQUAL "")
    message(FATAL_ERROR "there is no netd/${room}")
  endif()
  list(APPEND wanted ${of_room})
endforeach()
list(SORT found)
list(SORT wanted)
if(NOT found STREQUAL wanted)
  message(FATAL_ERROR "it is meant to see ${wanted}\nbut it sees ${found}")
endif()

# And what that means to somebody who tries.
list(REMOVE_ITEM headers ${found})
list(GET headers 0 other)
file(WRITE ${WORK_DIR}/include.cpp "#include \"${other}\"\n")
execute_process(COMMAND ${COMPILER} -std=c++23 ${flags} -fsyntax-only ${WORK_DIR}/include.cpp
  RESULT_VARIABLE status ERROR_VARIABLE errors)
if(status EQUAL 0 OR NOT errors MATCHES "No such file|file not found")
  message(FATAL_ERROR "an #include of ${other} compiles there: ${errors}")
endif()
message(STATUS "sees ${SEES}")
