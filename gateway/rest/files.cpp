#include "gateway/file_events.hpp"
#include "gateway/rest/instance_root.hpp"
#include "gateway/rest/lists.hpp"
#include "gateway/rest/routes.hpp"

#include <chrono>
#include <ctime>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

namespace troupe {
namespace {

std::string path_of(const rest_request& from) {
  auto path = from.http->parameter("path");
  if (path.empty()) return {};
  return "/" + std::string{path.substr(std::min(path.find_first_not_of('/'), path.size()))};
}

using file_work = std::function<void(const located_root&, const std::string& path)>;

void with_path(const rest_request& from, file_work work) {
  auto path = path_of(from);
  if (path.empty()) return reply_error(from, {fault::invalid, "The parameter \"path\" is missing"});
  if (path.find('\0') != path.npos) return reply_error(from, {fault::invalid, "The path holds a NUL character"});
  with_root(from, [work = std::move(work), path](const located_root& root) { work(root, path); });
}

std::string go_time(int64_t seconds) {
  char text[64];
  time_t when = seconds;
  tm parts{};
  gmtime_r(&when, &parts);
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S +0000 UTC", &parts);
  return text;
}

void add_headers(http_response& out, const file_info& info) {
  char mode[8];
  std::snprintf(mode, sizeof mode, "%04o", info.mode & 07777);
  out.headers.emplace_back("X-LXD-uid", std::to_string(info.uid));
  out.headers.emplace_back("X-LXD-gid", std::to_string(info.gid));
  out.headers.emplace_back("X-LXD-mode", mode);
  out.headers.emplace_back("X-LXD-type", info.type == 'd' ? "directory" : info.type == 'l' ? "symlink" : "file");
  out.headers.emplace_back("X-LXD-modified", go_time(info.modified));
}

std::string quoted_name(const std::string& path) {
  auto name = path.substr(path.rfind('/') + 1);
  std::string out;
  for (char c : name)
    if (static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\') out += c;
  return out;
}

void send_file(const rest_request& from, const std::string& path, file_info info) {
  http_response out;
  add_headers(out, info);
  if (info.type == 'd') {
    json_list names;
    for (auto& name : info.entries) write_json_string(names.next(), name);
    out.headers.emplace_back("Content-Type", "application/json");
    out.body.emplace_back(
        R"({"type":"sync","status":"Success","status_code":200,"operation":"","error_code":0,"error":"","metadata":)" +
        std::move(names).take() + "}\n");
  } else {
    out.headers.emplace_back("Content-Type", "application/octet-stream");
    out.headers.emplace_back("Content-Disposition", "inline;filename=\"" + quoted_name(path) + "\"");
    if (info.type == 'l')
      out.body.emplace_back(info.target);
    else if (info.streamed)
      out.body.emplace_back(pipe_stream{std::move(info.content)});
    else
      out.body.emplace_back(file_range{std::move(info.content), 0, info.size});
  }
  from.answer.send(std::move(out));
}

std::optional<uint32_t> number_header(const rest_request& from, std::string_view name, int base) {
  auto value = std::string{from.http->header(name)};
  if (value.empty()) return std::nullopt;
  return static_cast<uint32_t>(std::strtoul(value.c_str(), nullptr, base));
}

outcome<file_write> write_of(const rest_request& from) {
  file_write how;
  auto type = from.http->header("X-LXD-type");
  if (type == "directory")
    how.type = 'd';
  else if (type == "symlink")
    how.type = 'l';
  else if (!type.empty() && type != "file")
    return fail(fault::invalid, "Bad file type: " + std::string{type});
  auto write = from.http->header("X-LXD-write");
  if (!write.empty() && write != "overwrite" && write != "append")
    return fail(fault::invalid, "Bad file write mode: " + std::string{write});
  how.append = write == "append";
  how.uid = number_header(from, "X-LXD-uid", 10);
  how.gid = number_header(from, "X-LXD-gid", 10);
  how.mode = number_header(from, "X-LXD-mode", 0); // a leading 0 means octal
  if (how.mode) *how.mode &= 07777;
  return how;
}

// An instance that takes what it gets byte by byte is not waited for: at least so much of a second.
constexpr uint64_t slowest = 256 << 10;
constexpr auto patience = std::chrono::seconds{60};

outcome<void> copy(int from, uint64_t size, int to) {
  auto end = std::chrono::steady_clock::now() + patience + std::chrono::seconds{size / slowest};
  off_t at = 0;
  while (static_cast<uint64_t>(at) < size) {
    if (std::chrono::steady_clock::now() > end)
      return fail(fault::timed_out, "The instance takes the upload too slowly");
    auto moved = sendfile(to, from, &at, std::min<uint64_t>(size - static_cast<uint64_t>(at), slowest));
    if (moved < 0 && errno == EINTR) continue;
    if (moved < 0) return fail_errno(errno, "Cannot write the file");
    if (moved == 0) return fail(fault::backend_failed, "The upload ended early");
  }
  return {};
}

std::string read_spool(const rest_request& from) {
  std::string out(std::min<uint64_t>(from.http->spool_size, 4096), '\0');
  auto got = pread(from.http->spool.get(), out.data(), out.size(), 0);
  out.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return out;
}

void tell(const rest_request& from, std::string_view action, const std::string& path) {
  tell_file_event(from.with(), *from.head, from.parameter(0), action, path);
}

} // namespace

void get_file(const rest_request& from) {
  with_path(from, [from](const located_root& root, const std::string& path) {
    auto info = root.driver->read_file(root, path);
    if (!info) return reply_error(from, info.error());
    if (from.http->method == "GET") tell(from, "instance-file-retrieved", path);
    send_file(from, path, std::move(*info));
  });
}

void post_file(const rest_request& from) {
  auto how = write_of(from);
  if (!how) return reply_error(from, how.error());
  if (how->type == 'l') how->target = read_spool(from);
  with_path(from, [from, how = *how](const located_root& root, const std::string& path) {
    auto file = root.driver->write_file(root, path, how);
    if (!file) return reply_error(from, file.error());
    if (how.type == 'f' && from.http->spool_size > 0)
      if (auto done = copy(from.http->spool.get(), from.http->spool_size, file->get()); !done)
        return reply_error(from, done.error());
    if (auto done = root.driver->finish_write(*file); !done) return reply_error(from, done.error());
    tell(from, "instance-file-pushed", path);
    reply_sync(from, "{}");
  });
}

void delete_file(const rest_request& from) {
  with_path(from, [from](const located_root& root, const std::string& path) {
    if (auto done = root.driver->remove_file(root, path); !done) return reply_error(from, done.error());
    tell(from, "instance-file-deleted", path);
    reply_sync(from, "{}");
  });
}

// The stock client's `file mount`: after the 101 the connection speaks SFTP. Nothing is sent before the client's first
// packet.
void get_sftp(const rest_request& from) {
  if (from.head->who.protocol == "oidc") // nothing would cut it when his rights end
    return reply_error(from, {fault::unsupported, "SFTP is for clients with a certificate"});
  if (from.http->header("Upgrade") != "sftp")
    return reply_error(from, {fault::invalid, "This address is for SFTP: the header \"Upgrade: sftp\" is missing"});
  with_root(from, [from](const located_root& root) {
    if (root.leader == 0 && !root.root.lower.empty())
      return reply_error(from, {fault::unsupported, "The files of an instance on this storage pool can be mounted only "
                                                    "while it runs: start it first"});
    auto socket = root.driver->serve_sftp(root);
    if (!socket) return reply_error(from, socket.error());
    from.answer.hand_over("sftp", std::move(*socket));
  });
}

} // namespace troupe
