#include "backends/image/helper/tree_sink.hpp"

#include "backends/image/qcow2_header.hpp"

#include <algorithm>

namespace troupe::unpack {

bool keeps_xattr(std::string_view name) noexcept {
  return name.starts_with("user.") || name == "security.capability" || name == "system.posix_acl_access" ||
         name == "system.posix_acl_default";
}

void own_by_daemon(std::string_view path, attributes& attrs) {
  if (path.starts_with("rootfs")) return;
  attrs.uid = attrs.gid = 0;
  attrs.mode = path == root_disk_name ? 0600 : attrs.mode & 0755;
  attrs.xattrs.clear();
}

outcome<void> emit(tree_sink& sink, entry_kind kind, const placement& at, const attributes& attrs, uint64_t size) {
  switch (kind) {
    case entry_kind::directory:
      return sink.directory(at, attrs);
    case entry_kind::symlink:
      return sink.symlink(at, attrs);
    case entry_kind::hardlink:
      return sink.hardlink(at);
    case entry_kind::fifo:
      return sink.fifo(at, attrs);
    case entry_kind::file:
      return sink.begin_file(at, size);
    case entry_kind::skipped:
      break;
  }
  return {};
}

outcome<void> check_sink::begin_file(const placement& at, uint64_t size) {
  in_text_ = at.path == wanted_;
  in_disk_ = at.path == root_disk_name;
  if (in_text_) text_.assign(std::min(size, metadata_size_max), '\0');
  if (in_disk_) {
    disk_size_ = size;
    disk_head_.assign(std::min<uint64_t>(size, qcow2_head_size), '\0');
  }
  return {};
}

outcome<void> check_sink::write(uint64_t offset, const char* data, size_t size) {
  if (in_disk_ && offset < disk_head_.size())
    std::copy_n(data, std::min(size, disk_head_.size() - offset), disk_head_.begin() + static_cast<ptrdiff_t>(offset));
  if (!in_text_) return {};
  if (offset > text_.size() || size > text_.size() - offset)
    return fail(fault::invalid, wanted_ + " is longer than it says");
  std::copy_n(data, size, text_.begin() + static_cast<ptrdiff_t>(offset));
  return {};
}

} // namespace troupe::unpack
