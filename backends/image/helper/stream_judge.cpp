#include "backends/image/helper/stream_judge.hpp"

#include <algorithm>
#include <cerrno>
#include <unistd.h>

namespace troupe::unpack {
namespace {

constexpr std::string_view index_path = "backup/index.yaml", header_path = "backup/optimized_header.yaml";

} // namespace

outcome<void> file_sink::write(uint64_t offset, const char* data, size_t size) {
  while (size > 0) {
    auto n = pwrite(fd_, data, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail(fault::backend_failed, fail_errno(errno, "Cannot write the stream").value().message);
    data += n;
    size -= static_cast<size_t>(n);
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

stream_judge::stream_judge(const std::vector<std::string>& trees, int first_file, unpack_limits of_all)
    : whole_{of_all, "backup"}, text_{std::string{header_path}} {
  for (auto& tree : trees) streams_.push_back({"backup/" + tree + ".bin", file_sink{first_file++}});
}

outcome<std::optional<entry_judge::verdict>> stream_judge::judge(const archive_entry_facts& entry) {
  if (auto ok = whole_.count(entry); !ok) return tl::unexpected{ok.error()};
  auto path = whole_.normalise(archive_form::unified, entry.path);
  if (!path) return tl::unexpected{path.error()};
  if (entry.kind == entry_kind::directory) return std::nullopt;
  auto named = std::find_if(streams_.begin(), streams_.end(), [&](auto& each) { return each.path == *path; });
  bool known = named != streams_.end(), index = *path == index_path, header = *path == header_path;
  if (!known && !index && !header)
    return fail(fault::unsupported, "The backup holds what its index does not name (subvolumes inside, perhaps)");
  if (entry.kind != entry_kind::file) return fail(fault::invalid, "\"" + *path + "\" is no regular file");
  if (header && entry.size > metadata_size_max) return fail(fault::too_large, "The backup's header is too large");
  if (std::exchange(known ? named->seen : index ? index_seen_ : text_seen_, true))
    return fail(fault::invalid, "The backup has more than one \"" + *path + "\"");
  if (index) return std::nullopt;
  return verdict{{std::move(*path), {}, false}, header ? static_cast<tree_sink*>(&text_) : &named->sink};
}

outcome<void> stream_judge::finish() const {
  for (auto& each : streams_)
    if (!each.seen) return fail(fault::invalid, "The backup is not whole: it has no \"" + each.path + "\"");
  return {};
}

} // namespace troupe::unpack
