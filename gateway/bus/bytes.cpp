#include "gateway/bus/bytes.hpp"

#include "gateway/bus/inside.hpp"

#include <unistd.h>

namespace troupe::on_bus {
namespace {

constexpr size_t chunk_bytes = 64 << 10;

outcome<std::string> read_chunk(int fd, uint64_t at, uint64_t most) {
  std::string out(std::min<uint64_t>(most, chunk_bytes), '\0');
  auto got = pread(fd, out.data(), out.size(), static_cast<off_t>(at));
  if (got < 0) return fail_errno(errno, "Cannot read the file");
  if (got == 0) return fail(fault::backend_failed, "The file has become shorter");
  out.resize(static_cast<size_t>(got));
  return out;
}

/// Of a socket; empty: its end.
outcome<std::string> read_some(int fd) {
  std::string out(chunk_bytes, '\0');
  ssize_t got = 0;
  do got = ::read(fd, out.data(), out.size());
  while (got < 0 && errno == EINTR);
  if (got < 0) return fail_errno(errno, "Cannot read the file");
  out.resize(static_cast<size_t>(got));
  return out;
}

outcome<bool> write_chunk(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    auto done = ::write(fd, bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return fail_errno(errno, "Cannot write the file");
    bytes.remove_prefix(static_cast<size_t>(done));
  }
  return true;
}

kj::Promise<void> send_from(const place& at, std::shared_ptr<const unique_fd> file, uint64_t offset, uint64_t size,
                            bus::ByteStream::Client to) {
  if (offset == size) return to.endRequest().send().ignoreResult();
  return on_blocking_thread(at, [file, offset, size] { return read_chunk(file->get(), offset, size - offset); })
      .then([at, file, offset, size, to](std::string&& chunk) mutable {
        auto request = to.writeRequest(capnp::MessageSize{chunk.size() / 8 + 16, 0});
        request.setBytes(kj::StringPtr{chunk.c_str(), chunk.size()}.asBytes());
        auto next = offset + chunk.size();
        return request.send().then(
            [at, file, next, size, to]() mutable { return send_from(at, file, next, size, to); });
      });
}

kj::Promise<void> send_rest(const place& at, std::shared_ptr<const unique_fd> socket, bus::ByteStream::Client to) {
  return inside_instance(at, [socket] { return read_some(socket->get()); })
      .then([at, socket, to](std::string&& chunk) mutable -> kj::Promise<void> {
        if (chunk.empty()) return to.endRequest().send().ignoreResult();
        auto request = to.writeRequest(capnp::MessageSize{chunk.size() / 8 + 16, 0});
        request.setBytes(kj::StringPtr{chunk.c_str(), chunk.size()}.asBytes());
        return request.send().then([at, socket, to]() mutable { return send_rest(at, socket, to); });
      });
}

class file_receiver final : public bus::ByteStream::Server {
public:
  file_receiver(place at, std::shared_ptr<const unique_fd> file, std::function<void()> ended, bool inside)
      : at_{std::move(at)}, engaged_{at_.of->doings}, file_{std::move(file)}, ended_{std::move(ended)}, inside_{
                                                                                                            inside} {}

  kj::Promise<void> write(WriteContext context) override {
    if (!file_) refuse(fault::wrong_state, "The stream was ended");
    auto bytes = context.getParams().getBytes().asChars();
    return on_thread([file = file_, chunk = std::string{bytes.begin(), bytes.size()}] {
             return write_chunk(file->get(), chunk);
           })
        .then([](bool) {});
  }
  kj::Promise<void> end(EndContext) override {
    if (!file_) refuse(fault::wrong_state, "The stream was ended");
    auto finish = [&driver = at_.with().driver(type_of(at_.with().db.read(), at_.head->project, at_.name())),
                   file = std::move(file_)]() -> outcome<bool> {
      if (auto done = driver.finish_write(*file); !done) return tl::unexpected{done.error()};
      return true;
    };
    return on_thread(std::move(finish)).then([ended = ended_](bool) { ended(); });
  }

private:
  template <class Work>
  kj::Promise<bool> on_thread(Work work) {
    if (inside_) return inside_instance(at_, std::move(work));
    return on_blocking_thread(at_, std::move(work));
  }

  place at_;
  activity::engagement engaged_;
  std::shared_ptr<const unique_fd> file_;
  std::function<void()> ended_;
  bool inside_; // what is written to may hang
};

} // namespace

kj::Promise<void> send_file(const place& at, std::shared_ptr<const unique_fd> file, uint64_t size,
                            bus::ByteStream::Client to) {
  return send_from(at, std::move(file), 0, size, kj::mv(to));
}

kj::Promise<void> send_stream(const place& at, std::shared_ptr<const unique_fd> socket, bus::ByteStream::Client to) {
  return send_rest(at, std::move(socket), kj::mv(to));
}

bus::ByteStream::Client receive_file(const place& at, std::shared_ptr<const unique_fd> file,
                                     std::function<void()> ended) {
  return kj::heap<file_receiver>(at, std::move(file), std::move(ended), false);
}

bus::ByteStream::Client receive_inside(const place& at, std::shared_ptr<const unique_fd> file,
                                       std::function<void()> ended) {
  return kj::heap<file_receiver>(at, std::move(file), std::move(ended), true);
}

} // namespace troupe::on_bus
