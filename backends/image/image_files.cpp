#include "backends/image/image_files.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace troupe {
namespace {

constexpr size_t copy_block = 1 << 20;

outcome<void> copy_by_hand(const unique_fd& source, uint64_t from, uint64_t count, const unique_fd& target,
                           uint64_t at) {
  std::vector<char> block(std::min<uint64_t>(count, copy_block));
  while (count > 0) {
    auto n = read_at(source, from, block.data(), std::min<uint64_t>(count, block.size()));
    if (!n) return tl::unexpected{n.error()};
    if (*n == 0) return fail(fault::invalid, "The image is shorter than expected");
    for (size_t done = 0; done < *n;) {
      auto w = pwrite(target.get(), block.data() + done, *n - done, static_cast<off_t>(at + done));
      if (w < 0 && errno == EINTR) continue;
      if (w < 0) return fail_errno(errno, "Cannot write an image file");
      done += static_cast<size_t>(w);
    }
    from += *n;
    at += *n;
    count -= *n;
  }
  return {};
}

} // namespace

outcome<uint64_t> size_of(const unique_fd& file) {
  struct stat facts {};
  if (fstat(file.get(), &facts) != 0) return fail_errno(errno, "Cannot read an image file");
  if (!S_ISREG(facts.st_mode)) return fail(fault::invalid, "The image is no regular file");
  return static_cast<uint64_t>(facts.st_size);
}

outcome<unique_fd> unnamed_file(const std::string& directory) {
  unique_fd file{open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)};
  if (!file) return fail_errno(errno, "Cannot create a file in " + directory);
  return file;
}

outcome<void> copy_range(const unique_fd& source, uint64_t from, uint64_t count, const unique_fd& target) {
  auto in = static_cast<off64_t>(from);
  off64_t out = 0;
  while (count > 0) {
    auto n = copy_file_range(source.get(), &in, target.get(), &out, count, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EIO))
      return fail_errno(errno, "Cannot write an image file");
    // Other file systems, older kernels, the end of the source: by hand, which also finds the right words.
    if (n <= 0) return copy_by_hand(source, static_cast<uint64_t>(in), count, target, static_cast<uint64_t>(out));
    count -= static_cast<uint64_t>(n);
  }
  return {};
}

outcome<size_t> read_at(const unique_fd& file, uint64_t offset, char* out, size_t count) {
  size_t done = 0;
  while (done < count) {
    auto n = pread(file.get(), out + done, count - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "Cannot read an image file");
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

bool is_fingerprint(std::string_view text) noexcept {
  return text.size() == 64 &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

} // namespace troupe
