# Whether the drop-ins for systemd-networkd, udev and NetworkManager are installed where those look: below /usr/lib, as
# systemd.network(5), systemd.link(5), networkd.conf(5) and udev(7) say. Installs packaging/ below WORK_DIR.
file(REMOVE_RECURSE ${WORK_DIR})
execute_process(COMMAND ${CMAKE_COMMAND} -E env DESTDIR=${WORK_DIR} ${CMAKE_COMMAND} -P ${SCRIPT}
  RESULT_VARIABLE status OUTPUT_QUIET)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "packaging/ was not installed")
endif()
foreach(file systemd/network/05-netkitd.network systemd/network/05-netkitd.link systemd/networkd.conf.d/netkitd.conf
    udev/rules.d/86-netkitd.rules)
  if(NOT EXISTS ${WORK_DIR}${PREFIX}/lib/${file})
    message(FATAL_ERROR "${PREFIX}/lib/${file} is not installed")
  endif()
endforeach()
# A pattern that is longer than a name can be is ignored with a warning: all veth devices would be meant.
foreach(file 05-netkitd.network 05-netkitd.link)
  file(STRINGS ${WORK_DIR}${PREFIX}/lib/systemd/network/${file} pattern REGEX "Name=nk")
  string(REGEX REPLACE ".*=" "" pattern "${pattern}")
  string(LENGTH "${pattern}" length)
  if(length LESS 10 OR length GREATER 15)
    message(FATAL_ERROR "${file}: '${pattern}' is no pattern of a device's name")
  endif()
endforeach()
# The group is of netd/link/device.h.
file(READ ${WORK_DIR}${PREFIX}/lib/udev/rules.d/86-netkitd.rules rules)
file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/../../netd/link/device.h group REGEX "kDeviceGroup = ")
string(REGEX MATCH "0x[0-9a-f]+" group "${group}")
math(EXPR group "${group}")
if(NOT rules MATCHES "ATTR{netdev_group}==\"${group}\"")
  message(FATAL_ERROR "86-netkitd.rules does not name the devices' group, ${group}")
endif()
