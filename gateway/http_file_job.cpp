#include "gateway/http_file_job.hpp"

#include "gateway/http_context.hpp"

#include <fcntl.h>
#include <uv.h>

namespace troupe {
namespace {

struct job {
  uv_fs_t request{};
  file_job_done done;
  std::shared_ptr<void> open;
};

template <class Start>
void run(http_context& context, file_job_done done, Start start) {
  auto* made = new job{{}, std::move(done), context.open};
  made->request.data = made;
  auto ended = [](uv_fs_t* request) {
    std::unique_ptr<job> mine{static_cast<job*>(request->data)};
    auto result = static_cast<ssize_t>(request->result);
    uv_fs_req_cleanup(request);
    mine->done(result);
  };
  start(context.uv, &made->request, +ended); // fails only for a missing callback or memory
}

} // namespace

void read_file(http_context& context, int fd, char* into, size_t size, uint64_t offset, file_job_done done) {
  run(context, std::move(done), [&](uv_loop_t* on, uv_fs_t* request, uv_fs_cb ended) {
    uv_buf_t buffer{into, size};
    uv_fs_read(on, request, fd, &buffer, 1, static_cast<int64_t>(offset), ended);
  });
}

void write_file(http_context& context, int fd, const char* from, size_t size, uint64_t offset, file_job_done done) {
  run(context, std::move(done), [&](uv_loop_t* on, uv_fs_t* request, uv_fs_cb ended) {
    uv_buf_t buffer{const_cast<char*>(from), size};
    uv_fs_write(on, request, fd, &buffer, 1, static_cast<int64_t>(offset), ended);
  });
}

void open_unnamed_file(http_context& context, file_job_done done) {
  run(context, std::move(done), [&](uv_loop_t* on, uv_fs_t* request, uv_fs_cb ended) {
    uv_fs_open(on, request, context.spool_dir.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600, ended);
  });
}

} // namespace troupe
