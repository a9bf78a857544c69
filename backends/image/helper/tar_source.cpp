#include "backends/image/helper/sources.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <cerrno>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace troupe::unpack {
namespace {

constexpr size_t block_size = 256 << 10;

struct input {
  const archive_file& file;
  report& to;
  uint64_t offset = 0;
  std::vector<char> block = std::vector<char>(block_size);
};

la_ssize_t read_block(archive* from, void* state, const void** out) {
  auto& in = *static_cast<input*>(state);
  ssize_t n;
  do n = pread(in.file.fd, in.block.data(), in.block.size(), static_cast<off_t>(in.offset));
  while (n < 0 && errno == EINTR);
  if (n < 0) archive_set_error(from, errno, "Cannot read the image");
  if (n > 0) in.offset += static_cast<uint64_t>(n);
  in.to.read_up_to(in.offset, in.file.base);
  *out = in.block.data();
  return n;
}

using reader = std::unique_ptr<archive, decltype(&archive_read_free)>;

tl::unexpected<error> broken(archive* from) {
  const char* why = archive_error_string(from);
  return fail(fault::invalid, std::string{"The archive of the image is broken: "} + (why ? why : "unknown format"));
}

outcome<void> open_reader(archive* from, input& in) {
  // ARCHIVE_WARN would mean that an external program does the work; all these are built in.
  for (auto* support :
       {archive_read_support_filter_gzip, archive_read_support_filter_xz, archive_read_support_filter_lzma,
        archive_read_support_filter_zstd, archive_read_support_filter_bzip2, archive_read_support_format_tar})
    if (support(from) != ARCHIVE_OK) return fail(fault::unsupported, "This libarchive lacks a built-in decompressor");
  if (archive_read_open2(from, &in, nullptr, read_block, nullptr, nullptr) != ARCHIVE_OK) return broken(from);
  return {};
}

entry_kind kind_of(archive_entry* e) {
  if (archive_entry_hardlink(e) || archive_entry_hardlink_utf8(e)) return entry_kind::hardlink;
  switch (archive_entry_filetype(e)) {
    case AE_IFREG:
      return entry_kind::file;
    case AE_IFDIR:
      return entry_kind::directory;
    case AE_IFLNK:
      return entry_kind::symlink;
    case AE_IFIFO:
      return entry_kind::fifo;
    default:
      return entry_kind::skipped;
  }
}

/// Names that are not in the locale's encoding come as UTF-8 only.
std::string_view either(const char* plain, const char* utf8) { return plain ? plain : utf8 ? utf8 : ""; }

archive_entry_facts facts_of(archive_entry* e) {
  archive_entry_facts out;
  out.kind = kind_of(e);
  out.path = either(archive_entry_pathname(e), archive_entry_pathname_utf8(e));
  if (out.kind == entry_kind::hardlink) out.link = either(archive_entry_hardlink(e), archive_entry_hardlink_utf8(e));
  if (out.kind == entry_kind::symlink) out.link = either(archive_entry_symlink(e), archive_entry_symlink_utf8(e));
  auto size = archive_entry_size(e);
  out.size = size > 0 ? static_cast<uint64_t>(size) : 0;
  return out;
}

outcome<attributes> attributes_of(archive_entry* e) {
  attributes out;
  auto uid = archive_entry_uid(e), gid = archive_entry_gid(e);
  if (uid < 0 || gid < 0 || uid > INT32_MAX || gid > INT32_MAX)
    return fail(fault::invalid, "The image has a file whose owner is out of range");
  out.uid = static_cast<uint32_t>(uid);
  out.gid = static_cast<uint32_t>(gid);
  out.mode = archive_entry_perm(e) & 07777;
  out.modified = {archive_entry_mtime(e), archive_entry_mtime_nsec(e)};
  const char* name;
  const void* value;
  size_t size;
  for (archive_entry_xattr_reset(e); archive_entry_xattr_next(e, &name, &value, &size) == ARCHIVE_OK;)
    if (keeps_xattr(name)) out.xattrs.emplace_back(name, std::string{static_cast<const char*>(value), size});
  return out;
}

outcome<void> copy_data(archive* from, tree_sink& sink) {
  const void* data;
  size_t size;
  la_int64_t offset;
  for (;;) {
    auto r = archive_read_data_block(from, &data, &size, &offset);
    if (r == ARCHIVE_EOF) return {};
    if (r != ARCHIVE_OK) return broken(from);
    if (offset < 0) return fail(fault::invalid, "The archive of the image is broken: a negative offset");
    if (auto ok = sink.write(static_cast<uint64_t>(offset), static_cast<const char*>(data), size); !ok) return ok;
  }
}

outcome<void> take(archive* from, archive_entry* e, entry_judge& judge) {
  auto facts = facts_of(e);
  auto verdict = judge.judge(facts);
  if (!verdict) return tl::unexpected{verdict.error()};
  if (!*verdict) return {};
  auto& [at, to] = **verdict;
  auto attrs = attributes_of(e);
  if (!attrs) return tl::unexpected{attrs.error()};
  own_by_daemon(at.path, *attrs);
  if (auto ok = emit(*to, facts.kind, at, *attrs, facts.size); !ok || facts.kind != entry_kind::file) return ok;
  if (to->wants_data(at.path))
    if (auto ok = copy_data(from, *to); !ok) return ok;
  return to->end_file(*attrs);
}

} // namespace

outcome<std::optional<entry_judge::verdict>> image_judge::judge(const archive_entry_facts& entry) {
  auto where = rules_.admit(form_, entry);
  if (!where) return tl::unexpected{where.error()};
  if (!*where) return std::nullopt;
  return verdict{std::move(**where), &sink_};
}

outcome<void> walk_tar(const archive_file& file, entry_judge& judge, report& to) {
  input in{file, to};
  reader from{archive_read_new(), archive_read_free};
  if (!from) return fail(fault::too_large, "Not enough memory to read the image");
  if (auto ok = open_reader(from.get(), in); !ok) return ok;
  for (archive_entry* e = nullptr;;) {
    auto r = archive_read_next_header(from.get(), &e);
    if (r == ARCHIVE_EOF) return {};
    if (r != ARCHIVE_OK && r != ARCHIVE_WARN) return broken(from.get());
    if (auto ok = take(from.get(), e, judge); !ok) return ok;
    if (judge.satisfied()) return {};
  }
}

} // namespace troupe::unpack
