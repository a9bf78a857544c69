#include "backends/image/helper/tar_writer.hpp"

#include <algorithm>
#include <archive.h>
#include <archive_entry.h>
#include <cerrno>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace troupe::unpack {
namespace {

constexpr size_t block_size = 256 << 10;

struct filter_row {
  std::string_view name;
  int (*add)(archive*);
};
constexpr filter_row filters[] = {
    {"none", archive_write_add_filter_none},   {"gzip", archive_write_add_filter_gzip},
    {"bzip2", archive_write_add_filter_bzip2}, {"lzma", archive_write_add_filter_lzma},
    {"xz", archive_write_add_filter_xz},       {"zstd", archive_write_add_filter_zstd},
};

la_ssize_t write_block(archive* to, void* state, const void* data, size_t size) {
  for (;;) {
    auto n = ::write(*static_cast<int*>(state), data, size);
    if (n >= 0) return n;
    if (errno == EINTR) continue;
    archive_set_error(to, errno, "Cannot write the archive");
    return -1;
  }
}

// A file without any is told of by one that is empty: else its hole would be written out.
void add_extents(archive_entry* e, int fd, off_t size) {
  for (off_t at = 0; at < size;) {
    off_t data = lseek(fd, at, SEEK_DATA);
    if (data < 0 && errno != ENXIO) return archive_entry_sparse_clear(e); // holes cannot be asked for here
    if (data < 0) break;
    off_t hole = lseek(fd, data, SEEK_HOLE);
    if (data == 0 && hole >= size) return;
    archive_entry_sparse_add_entry(e, data, hole - data);
    at = hole;
  }
  if (archive_entry_sparse_count(e) == 0 && size > 0) archive_entry_sparse_add_entry(e, 0, 0);
}

void describe(archive_entry* e, const packed_entry& entry, int content) {
  auto& facts = entry.facts;
  archive_entry_copy_pathname(e, entry.path.c_str());
  archive_entry_set_mode(e, facts.st_mode);
  archive_entry_set_uid(e, facts.st_uid);
  archive_entry_set_gid(e, facts.st_gid);
  archive_entry_set_mtime(e, facts.st_mtim.tv_sec, facts.st_mtim.tv_nsec);
  archive_entry_set_size(e, content >= 0 ? facts.st_size : 0);
  if (S_ISCHR(facts.st_mode) || S_ISBLK(facts.st_mode)) {
    archive_entry_set_rdevmajor(e, major(facts.st_rdev));
    archive_entry_set_rdevminor(e, minor(facts.st_rdev));
  }
  if (!entry.link.empty()) archive_entry_copy_symlink(e, entry.link.c_str());
  if (!entry.hardlink.empty()) archive_entry_copy_hardlink(e, entry.hardlink.c_str());
  for (auto& [name, value] : entry.xattrs) archive_entry_xattr_add_entry(e, name.c_str(), value.data(), value.size());
  if (content >= 0) add_extents(e, content, facts.st_size);
}

} // namespace

void tar_writer::closer::operator()(archive* to) const { archive_write_free(to); }

tl::unexpected<error> tar_writer::failed(const std::string& path) const {
  const char* why = archive_error_string(to_.get());
  return fail(fault::backend_failed,
              "Cannot pack \"" + path.substr(0, 200) + "\": " + std::string{why ? why : "unknown reason"});
}

outcome<tar_writer> tar_writer::open(int fd, const std::string& filter, const std::string& level) {
  auto row = std::find_if(std::begin(filters), std::end(filters), [&](auto& each) { return each.name == filter; });
  if (row == std::end(filters)) return fail(fault::invalid, "Unknown compression: " + filter);
  tar_writer out;
  out.to_.reset(archive_write_new());
  out.fd_ = std::make_unique<int>(fd);
  out.block_.resize(block_size);
  auto* to = out.to_.get();
  // A warning would mean that an external program does the work; all these are built in.
  bool good = to && archive_write_set_format_pax_restricted(to) == ARCHIVE_OK &&
              archive_write_set_format_option(to, "pax", "xattrheader", "SCHILY") == ARCHIVE_OK &&
              row->add(to) == ARCHIVE_OK;
  if (good && filter == "gzip") good = archive_write_set_filter_option(to, "gzip", "timestamp", nullptr) == ARCHIVE_OK;
  if (good && level != "0")
    good = archive_write_set_filter_option(to, filter.c_str(), "compression-level", level.c_str()) == ARCHIVE_OK;
  if (good) good = archive_write_set_bytes_per_block(to, block_size) == ARCHIVE_OK;
  if (good) good = archive_write_set_bytes_in_last_block(to, 1) == ARCHIVE_OK;
  if (good) good = archive_write_open(to, out.fd_.get(), nullptr, write_block, nullptr) == ARCHIVE_OK;
  if (!good) return out.failed("the archive");
  return out;
}

outcome<void> tar_writer::add(const packed_entry& entry, int content) {
  std::unique_ptr<archive_entry, decltype(&archive_entry_free)> e{archive_entry_new(), archive_entry_free};
  if (!e) return fail(fault::too_large, "Not enough memory to pack");
  describe(e.get(), entry, content);
  auto r = archive_write_header(to_.get(), e.get());
  if (r != ARCHIVE_OK && r != ARCHIVE_WARN) return failed(entry.path); // a warning: the name is no UTF-8
  return content >= 0 ? write_content(content, static_cast<uint64_t>(entry.facts.st_size), entry.path)
                      : outcome<void>{};
}

outcome<void> tar_writer::write_content(int from, uint64_t size, const std::string& path) {
  for (uint64_t at = 0; at < size;) {
    auto want = std::min<uint64_t>(size - at, block_.size());
    auto got = pread(from, block_.data(), want, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, "Cannot read \"" + path.substr(0, 200) + "\"");
    if (got == 0) { // it became shorter: the archive has promised so much
      std::fill(block_.begin(), block_.end(), '\0');
      got = static_cast<ssize_t>(want);
    }
    if (archive_write_data(to_.get(), block_.data(), static_cast<size_t>(got)) < 0) return failed(path);
    at += static_cast<uint64_t>(got);
  }
  return {};
}

outcome<void> tar_writer::finish() {
  if (archive_write_close(to_.get()) != ARCHIVE_OK) return failed("the archive");
  return {};
}

} // namespace troupe::unpack
