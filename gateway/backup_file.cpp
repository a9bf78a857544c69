#include "gateway/backup_file.hpp"

#include "backends/image/archives.hpp"

#include <cerrno>
#include <fcntl.h>

namespace troupe {

outcome<unique_fd> open_backup(const services& with, const backup_record& backup) {
  auto path = backup_path(with, backup.read([](auto b) { return text(b.getFile()); }));
  unique_fd file{open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
  if (!file) return fail_errno(errno, "Cannot open the file of the backup");
  return file;
}

outcome<import_backup> read_import(unique_fd file, std::shared_ptr<const header> head) {
  auto yaml = read_backup_index(file, nullptr);
  if (!yaml) return tl::unexpected{yaml.error()};
  auto index = parse_backup_index(*yaml);
  if (!index) return tl::unexpected{index.error()};
  import_backup out;
  out.head = std::move(head);
  out.file = std::make_shared<const unique_fd>(std::move(file));
  out.index = std::make_shared<const backup_index>(std::move(*index));
  return out;
}

} // namespace troupe
