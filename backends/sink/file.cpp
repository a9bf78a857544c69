#include "backends/sink/writers.hpp"
#include "messages/unique_fd.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {
namespace {

class file_sink : public sink_writer {
public:
  file_sink(std::string directory, std::string name) : directory_{std::move(directory)}, name_{std::move(name)} {}

  sink_progress write(std::span<const sink_record> records) override {
    if (stopped_) return {0, error{fault::cancelled, "The sink was stopped"}};
    std::string lines;
    for (auto& record : records) (lines += record.data) += '\n';
    auto done = follow_rotation().and_then([&] { return append(lines); });
    if (done) return {records.size()};
    file_.reset(); // opening it again puts it in order
    return {0, done.error()};
  }

  void stop() override { stopped_ = true; }

private:
  std::string path() const { return directory_ + "/" + name_; }

  outcome<void> follow_rotation() {
    struct stat named {
    }, held{};
    if (file_ && ::fstatat(folder_.get(), name_.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
        ::fstat(file_.get(), &held) == 0 && named.st_ino == held.st_ino && named.st_dev == held.st_dev)
      return {};
    return open();
  }

  outcome<void> open() {
    folder_.reset(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder_) return fail_errno(errno, "Cannot open " + directory_);
    // Not blocking: somebody may have put a pipe there, which is refused below.
    file_.reset(::openat(folder_.get(), name_.c_str(),
                         O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
    struct stat found {};
    if (!file_ || ::fstat(file_.get(), &found) != 0) return fail_errno(errno, "Cannot open " + path());
    if (!S_ISREG(found.st_mode)) return fail(fault::invalid, path() + " is not a file");
    // A writer that was given up may still be at it; cutting below must not meet its lines.
    if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) return fail_errno(errno, "Cannot lock " + path());
    if (::fsync(folder_.get()) != 0) return fail_errno(errno, "Cannot sync " + directory_);
    return cut_torn_line(found.st_size);
  }

  // What a crash or a full disk left behind the last whole line was not acknowledged and comes again.
  outcome<void> cut_torn_line(off_t size) {
    char part[4096];
    for (off_t end = size; end > 0;) {
      auto begin = std::max<off_t>(0, end - static_cast<off_t>(sizeof part));
      auto length = ::pread(file_.get(), part, static_cast<size_t>(end - begin), begin);
      if (length <= 0) return fail_errno(length == 0 ? EIO : errno, "Cannot read " + path());
      if (auto* newline = static_cast<const char*>(::memrchr(part, '\n', static_cast<size_t>(length))))
        return cut(begin + (newline - part) + 1, size);
      end = begin;
    }
    return cut(0, size);
  }

  outcome<void> cut(off_t keep, off_t size) {
    if (keep != size && ::ftruncate(file_.get(), keep) != 0) return fail_errno(errno, "Cannot shorten " + path());
    return {};
  }

  outcome<void> append(std::string_view bytes) {
    while (!bytes.empty()) {
      auto written = ::write(file_.get(), bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return fail_errno(errno, "Cannot write to " + path());
      bytes.remove_prefix(static_cast<size_t>(written));
    }
    if (::fdatasync(file_.get()) != 0) return fail_errno(errno, "Cannot sync " + path());
    return {};
  }

  const std::string directory_, name_;
  unique_fd folder_, file_;
  std::atomic<bool> stopped_ = false;
};

} // namespace

std::unique_ptr<sink_writer> make_file_sink(const std::string& directory, const std::string& file) {
  return std::make_unique<file_sink>(directory, file);
}

} // namespace troupe
