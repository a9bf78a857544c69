#include "cli/tar_file.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "messages/unique_fd.hpp"

namespace troupe {

struct tar_file::data {
  std::string path;
  unique_fd fd;
  int64_t mtime = 0;
  std::unique_ptr<archive, decltype(&archive_write_free)> out{nullptr, archive_write_free};

  tl::unexpected<error> broken() const {
    const char* why = archive_error_string(out.get());
    return fail(fault::backend_failed, "Cannot write " + path + ": " + (why ? why : "no reason given"));
  }

  outcome<void> header(const std::string& name, int type, int mode, int gid, int64_t size, const std::string& target) {
    std::unique_ptr<archive_entry, decltype(&archive_entry_free)> entry{archive_entry_new(), archive_entry_free};
    archive_entry_set_pathname(entry.get(), name.c_str());
    archive_entry_set_filetype(entry.get(), static_cast<unsigned>(type));
    archive_entry_set_perm(entry.get(), static_cast<mode_t>(mode));
    archive_entry_set_uid(entry.get(), 0);
    archive_entry_set_gid(entry.get(), gid);
    archive_entry_set_mtime(entry.get(), mtime, 0);
    archive_entry_set_size(entry.get(), size);
    if (type == AE_IFLNK) archive_entry_set_symlink(entry.get(), target.c_str());
    if (archive_write_header(out.get(), entry.get()) != ARCHIVE_OK) return broken();
    return {};
  }

  outcome<void> content(std::string_view bytes) {
    if (archive_write_data(out.get(), bytes.data(), bytes.size()) != static_cast<la_ssize_t>(bytes.size()))
      return broken();
    return {};
  }
};

outcome<tar_file> tar_file::create(const std::string& path, compression how, int64_t mtime, layout as) {
  auto made = std::make_shared<data>();
  made->path = path;
  made->mtime = mtime;
  made->fd = unique_fd{::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (!made->fd) return fail_errno(errno, "Cannot create " + path);
  made->out.reset(archive_write_new());
  auto* out = made->out.get();
  if (as == layout::tar)
    archive_write_set_format_gnutar(out);
  else
    archive_write_set_format_cpio_newc(out);
  if (how == compression::gzip) {
    archive_write_add_filter_gzip(out);
    archive_write_set_filter_option(out, "gzip", "timestamp", nullptr); // the time of packing is not content
  }
  if (archive_write_open_fd(out, made->fd.get()) != ARCHIVE_OK) return made->broken();
  return tar_file{std::move(made)};
}

outcome<void> tar_file::folder(const std::string& name, int mode) {
  return data_->header(name + "/", AE_IFDIR, mode, 0, 0, {});
}

outcome<void> tar_file::file(const std::string& name, std::string_view content, int mode, int gid) {
  if (auto done = data_->header(name, AE_IFREG, mode, gid, static_cast<int64_t>(content.size()), {}); !done)
    return done;
  return data_->content(content);
}

outcome<void> tar_file::link(const std::string& name, const std::string& target) {
  return data_->header(name, AE_IFLNK, 0777, 0, 0, target);
}

outcome<void> tar_file::copy(const std::string& name, int fd, int mode) {
  struct stat facts {};
  if (::fstat(fd, &facts) != 0) return fail_errno(errno, "Cannot look at the source of " + name);
  if (auto done = data_->header(name, AE_IFREG, mode, 0, facts.st_size, {}); !done) return done;
  std::vector<char> buffer(256 << 10);
  for (off_t at = 0; at < facts.st_size;) {
    ssize_t got = ::pread(fd, buffer.data(), buffer.size(), at);
    if (got < 0) return fail_errno(errno, "Cannot read the source of " + name);
    if (got == 0) return fail(fault::backend_failed, "The source of " + name + " became shorter while it was read");
    if (auto done = data_->content({buffer.data(), static_cast<size_t>(got)}); !done) return done;
    at += got;
  }
  return {};
}

outcome<void> tar_file::finish() {
  if (archive_write_close(data_->out.get()) != ARCHIVE_OK) return data_->broken();
  return {};
}

} // namespace troupe
