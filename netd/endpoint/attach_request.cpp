#include "endpoint/attach_request.h"

#include "endpoint/process.h"

namespace netkitd {

Result<Member> member_of(const AttachRequest& request) {
    Member member{.container_id = request.container_id, .pid = request.pid, .pid_start_time = 0};
    if (request.pid) {
        member.pid_start_time = NK_TRY(process_start_time(*request.pid));
    }
    return member;
}

}  // namespace netkitd
