#include "backends/instance/file_job.hpp"

#include <sys/socket.h>
#include <sys/stat.h>

namespace troupe {
namespace {

/// The job takes this byte when all is sent. If it dies before, the kernel tells us so instead of an end of file.
unique_fd begin_stream(unique_fd socket) {
  static_cast<void>(::send(socket.get(), "?", 1, MSG_NOSIGNAL));
  return socket;
}

} // namespace

void fill_write(schema::FileJob::Write::Builder to, const file_write& how) {
  auto given = [](const std::optional<uint32_t>& value) { return value ? static_cast<int64_t>(*value) : -1; };
  to.setType(static_cast<uint8_t>(how.type));
  to.setAppend(how.append);
  to.setUid(given(how.uid));
  to.setGid(given(how.gid));
  to.setMode(given(how.mode));
  to.setTarget(how.target);
}

outcome<file_info> read_info(job_reply& reply) {
  return reply.answer.read([&](auto a) -> outcome<file_info> {
    if (!a.isFile()) return fail(fault::internal, "The helper gave a wrong answer");
    auto f = a.getFile();
    file_info info;
    info.type = static_cast<char>(f.getType());
    info.uid = f.getUid();
    info.gid = f.getGid();
    info.mode = f.getMode();
    info.size = f.getSize();
    info.modified = f.getModified();
    info.target = text(f.getTarget());
    info.entries = to_vector(f.getEntries());
    info.streamed = f.getStreamed();
    if (!reply.fds.empty()) info.content = std::move(reply.fds[0]);
    if (info.streamed) info.content = begin_stream(std::move(reply.socket));
    return info;
  });
}

outcome<void> finish_upload(const unique_fd& file) {
  struct stat info {};
  if (!file || ::fstat(file.get(), &info) != 0 || !S_ISSOCK(info.st_mode)) return {};
  ::shutdown(file.get(), SHUT_WR);
  auto reply = next_answer(file.get());
  return reply ? outcome<void>{} : tl::unexpected{reply.error()};
}

} // namespace troupe
