#include "persist/write_ahead_log.hpp"

#include <algorithm>
#include <boost/crc.hpp>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr uint64_t segment_bytes = uint64_t{1} << 20;
constexpr uint64_t turn_bytes = segment_bytes / 2; // the other half is for what comes during a checkpoint

struct header {
  uint32_t checksum; // of what follows, the record's bytes included
  uint32_t length;   // of those
  uint64_t identity; // of the database
  uint64_t first;
  uint64_t last;
};
static_assert(sizeof(header) == 32);

uint32_t checksum_of(const header& h, std::string_view bytes) {
  boost::crc_32_type sum;
  sum.process_bytes(reinterpret_cast<const char*>(&h) + sizeof h.checksum, sizeof h - sizeof h.checksum);
  sum.process_bytes(bytes.data(), bytes.size());
  return sum.checksum();
}

outcome<void> write_all(int fd, std::string_view bytes, uint64_t at, const std::string& path) {
  while (!bytes.empty()) {
    ssize_t done = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return fail_errno(errno, "Cannot write " + path);
    bytes.remove_prefix(static_cast<size_t>(done));
    at += static_cast<uint64_t>(done);
  }
  return {};
}

outcome<std::string> read_all(int fd, const std::string& path) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return fail_errno(errno, "Cannot read " + path);
  std::string bytes(static_cast<size_t>(st.st_size), '\0');
  for (size_t have = 0; have < bytes.size();) {
    ssize_t got = ::pread(fd, bytes.data() + have, bytes.size() - have, static_cast<off_t>(have));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail_errno(got < 0 ? errno : EIO, "Cannot read " + path);
    have += static_cast<size_t>(got);
  }
  return bytes;
}

} // namespace

outcome<write_ahead_log> write_ahead_log::open(const std::string& folder, uint64_t identity) {
  write_ahead_log log;
  log.identity_ = identity;
  for (size_t i = 0; i < log.segments_.size(); ++i) {
    segment& s = log.segments_[i];
    s.path = folder + "/log." + std::to_string(i);
    s.file = unique_fd{::open(s.path.c_str(), O_RDWR | O_CREAT | O_DSYNC | O_CLOEXEC | O_NOFOLLOW, 0600)};
    if (!s.file) return fail_errno(errno, "Cannot open " + s.path);
    if (auto ok = log.read(s); !ok) return tl::unexpected{ok.error()};
  }
  log.active_ = log.segments_[1].last > log.segments_[0].last ? 1 : 0;
  std::sort(log.found_.begin(), log.found_.end(), [](auto& a, auto& b) { return a.first < b.first; });
  return log;
}

outcome<void> write_ahead_log::read(segment& from) {
  auto bytes = read_all(from.file.get(), from.path);
  if (!bytes) return tl::unexpected{bytes.error()};
  from.room = bytes->size();
  for (std::string_view rest{*bytes}; rest.size() >= sizeof(header);) {
    header h{};
    std::memcpy(&h, rest.data(), sizeof h);
    rest.remove_prefix(sizeof h);
    if (h.length > rest.size() || h.first <= from.last || h.last < h.first) break;
    std::string_view record = rest.substr(0, h.length);
    if (checksum_of(h, record) != h.checksum) break;
    if (h.identity != identity_)
      return fail(fault::corrupt, "The log " + from.path + " belongs to another database than the one beside it");
    found_.push_back({h.first, h.last, std::string{record}});
    from.end += sizeof h + h.length;
    from.last = h.last;
    rest.remove_prefix(h.length);
  }
  return {};
}

std::vector<logged> write_ahead_log::take_found(uint64_t after) {
  std::vector<logged> found = std::exchange(found_, {});
  std::erase_if(found, [after](const logged& r) { return r.last <= after; });
  return found;
}

bool write_ahead_log::fits(size_t bytes, uint64_t checkpointed) const {
  const segment &active = segments_[active_], &other = segments_[1 - active_];
  return is_free(active, checkpointed) || is_free(other, checkpointed) ||
         active.end + sizeof(header) + bytes <= segment_bytes;
}

bool write_ahead_log::wants_checkpoint(uint64_t checkpointed) const {
  return !is_free(segments_[1 - active_], checkpointed);
}

/// Written once, so that commits need no more from the file system than their own bytes.
outcome<void> write_ahead_log::make_room(segment& in) {
  if (in.room == segment_bytes) return {};
  if (in.room > segment_bytes) { // one record was larger than that
    if (::ftruncate(in.file.get(), static_cast<off_t>(segment_bytes)) != 0)
      return fail_errno(errno, "Cannot shorten " + in.path);
    in.room = segment_bytes;
    return {};
  }
  auto ok = write_all(in.file.get(), std::string(segment_bytes - in.room, '\0'), in.room, in.path);
  if (ok) in.room = segment_bytes;
  return ok;
}

/// So that what failed is not found by the next start.
outcome<void> write_ahead_log::scrub() {
  segment& active = segments_[active_];
  auto ok = write_all(active.file.get(), std::string(sizeof(header), '\0'), active.end, active.path);
  if (ok) torn_ = false;
  return ok;
}

outcome<void> write_ahead_log::append(uint64_t first, uint64_t last, std::string_view bytes, uint64_t checkpointed) {
  if (torn_)
    if (auto ok = scrub(); !ok) return ok;
  segment* active = &segments_[active_];
  bool full = active->end + sizeof(header) + bytes.size() > turn_bytes;
  if (full && !is_free(*active, checkpointed) && is_free(segments_[1 - active_], checkpointed)) {
    active_ = 1 - active_;
    active = &segments_[active_];
  }
  if (is_free(*active, checkpointed)) {
    active->end = 0;
    if (auto ok = make_room(*active); !ok) return ok;
  }
  header h{0, static_cast<uint32_t>(bytes.size()), identity_, first, last};
  h.checksum = checksum_of(h, bytes);
  std::string record{reinterpret_cast<const char*>(&h), sizeof h};
  record.append(bytes);
  if (auto ok = write_all(active->file.get(), record, active->end, active->path); !ok) {
    torn_ = true;
    (void)scrub();
    return ok;
  }
  active->end += record.size();
  active->last = last;
  active->room = std::max(active->room, active->end);
  return {};
}

} // namespace troupe
