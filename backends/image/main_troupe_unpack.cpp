// troupe-unpack: reads untrusted archives, confined. Started by the daemon only (helper_call.cpp, archives.cpp):
//   troupe-unpack check|unpack unified|split PARENT_PID BYTES_MAX
//   troupe-unpack index backup PARENT_PID BYTES_MAX
//   troupe-unpack unpack backup PARENT_PID BYTES_MAX TREE...
//   troupe-unpack streams backup PARENT_PID BYTES_MAX TREE...
// Descriptors: 1 report, 2 errors of libraries, 3 the unified or metadata archive or the backup, 4 the root archive
// (split), from 5 on the empty directories to fill: one, or one for each tree of the backup; with streams, a
// file for each.
#include "backends/image/helper/backup_judge.hpp"
#include "backends/image/helper/confine.hpp"
#include "backends/image/helper/disk_sink.hpp"
#include "backends/image/helper/sources.hpp"
#include "backends/image/helper/stream_judge.hpp"
#include "backends/image/image_format.hpp"
#include "backends/image/qcow2_header.hpp"

#include <cerrno>
#include <charconv>
#include <clocale>
#include <new>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::unpack {
namespace {

enum { first_archive = 3, root_archive = 4, first_target = 5 };

struct order {
  bool to_disk = false;
  archive_form form = archive_form::unified;
  bool backup = false, streams = false;
  pid_t parent = 0;
  uint64_t bytes_max = 0;
  std::vector<std::string> trees; // of a backup
  bool split() const { return form == archive_form::metadata; }
  size_t targets() const { return !to_disk ? 0 : backup ? trees.size() : 1; }
};

template <class Number>
bool parse(std::string_view text, Number& out) {
  auto [end, e] = std::from_chars(text.data(), text.data() + text.size(), out);
  return e == std::errc{} && end == text.data() + text.size();
}

outcome<order> parse_order(int count, char** words) {
  auto refused = [] { return fail(fault::invalid, "troupe-unpack is started by the daemon only"); };
  order out;
  if (count < 5) return refused();
  const std::string_view mode = words[1], form = words[2];
  out.to_disk = mode == "unpack";
  out.backup = form == "backup";
  if (form == "split") out.form = archive_form::metadata;
  out.streams = mode == "streams" && out.backup;
  if (!out.to_disk && !out.streams && mode != (out.backup ? "index" : "check")) return refused();
  if (!out.backup && !out.split() && form != "unified") return refused();
  if (!parse(words[3], out.parent) || !parse(words[4], out.bytes_max)) return refused();
  out.trees.assign(words + 5, words + count);
  if (out.trees.empty() != !(out.streams || (out.backup && out.to_disk))) return refused();
  return out;
}

outcome<archive_file> open_archive(int fd, uint64_t base) {
  struct stat facts {};
  if (fstat(fd, &facts) != 0) return fail_errno(errno, "Cannot read the image");
  return archive_file{fd, static_cast<uint64_t>(facts.st_size), base};
}

outcome<image_format> format_at(const archive_file& file) {
  char head[format_head_size];
  auto n = pread(file.fd, head, sizeof head, 0);
  if (n < 0) return fail_errno(errno, "Cannot read the image");
  return format_of({head, static_cast<size_t>(n)});
}

outcome<void> walk_root(const archive_file& file, unpack_rules& rules, tree_sink& sink, report& to) {
  auto format = format_at(file);
  if (!format) return tl::unexpected{format.error()};
  if (*format == image_format::squashfs) return walk_squashfs(file, rules, sink, to);
  image_judge judge{archive_form::rootfs, rules, sink};
  if (is_tar(*format)) return walk_tar(file, judge, to);
  return fail(fault::unsupported, "The root file system of the image is neither a tarball nor a squashfs");
}

outcome<void> tell(const check_sink& found, report& to) {
  if (auto size = found.disk_size()) {
    auto disk = judge_disk(found.disk_head(), *size, unpack_limits{}.disk_max);
    if (!disk) return tl::unexpected{disk.error()};
    to.disk(disk->size);
  }
  to.text(found.text());
  return {};
}

outcome<void> walk_image(const order& what, tree_sink& sink, unpack_rules& rules) {
  auto first = open_archive(first_archive, 0);
  if (!first) return tl::unexpected{first.error()};
  archive_file second;
  if (what.split()) {
    auto opened = open_archive(root_archive, first->size);
    if (!opened) return tl::unexpected{opened.error()};
    second = *opened;
  }
  report to{first->size + second.size};
  image_judge judge{what.form, rules, sink};
  if (auto ok = walk_tar(*first, judge, to); !ok) return ok;
  bool vm_root = false;
  if (what.split()) {
    auto format = format_at(second);
    if (!format) return tl::unexpected{format.error()};
    vm_root = *format == image_format::qcow2;
    if (!vm_root)
      if (auto ok = walk_root(second, rules, sink, to); !ok) return ok;
  }
  if (auto ok = rules.finish(!vm_root); !ok) return ok;
  if (auto ok = sink.finish(); !ok) return ok;
  to.kind(vm_root || rules.virtual_machine());
  if (auto* checked = dynamic_cast<check_sink*>(&sink))
    if (auto ok = tell(*checked, to); !ok) return ok;
  to.done();
  return {};
}

outcome<void> take_image(const order& what, std::vector<unique_fd> roots) {
  unpack_limits limits;
  limits.bytes_max = what.bytes_max;
  unpack_rules rules{limits};
  if (what.to_disk) {
    disk_sink sink{std::move(roots.front())};
    return walk_image(what, sink, rules);
  }
  check_sink sink;
  return walk_image(what, sink, rules);
}

outcome<void> walk_backup(backup_judge& judge, report& to, const archive_file& file) {
  auto format = format_at(file);
  if (!format) return tl::unexpected{format.error()};
  if (!is_tar(*format)) return fail(fault::invalid, "The file is no backup: it is no tarball");
  if (auto ok = walk_tar(file, judge, to); !ok) return ok;
  return judge.finish();
}

outcome<void> take_backup(const order& what, std::vector<unique_fd> roots) {
  auto file = open_archive(first_archive, 0);
  if (!file) return tl::unexpected{file.error()};
  report to{file->size};
  unpack_limits limits;
  limits.bytes_max = what.bytes_max;
  std::deque<disk_sink> sinks;
  std::vector<tree_sink*> all;
  for (auto& root : roots) all.push_back(&sinks.emplace_back(std::move(root)));
  auto judge = what.to_disk ? backup_judge{what.trees, all, limits} : backup_judge{};
  if (auto ok = walk_backup(judge, to, *file); !ok) return ok;
  for (auto& sink : sinks)
    if (auto ok = sink.finish(); !ok) return ok;
  to.text(judge.text());
  to.done();
  return {};
}

outcome<void> take_streams(const order& what) {
  auto file = open_archive(first_archive, 0);
  if (!file) return tl::unexpected{file.error()};
  auto format = format_at(*file);
  if (!format) return tl::unexpected{format.error()};
  if (!is_tar(*format)) return fail(fault::invalid, "The file is no backup: it is no tarball");
  report to{file->size};
  unpack_limits limits;
  limits.bytes_max = what.bytes_max;
  stream_judge judge{what.trees, first_target, limits};
  if (auto ok = walk_tar(*file, judge, to); !ok) return ok;
  if (auto ok = judge.finish(); !ok) return ok;
  to.text(judge.text());
  to.done();
  return {};
}

outcome<void> run(int count, char** words) {
  auto what = parse_order(count, words);
  if (!what) return tl::unexpected{what.error()};
  if (auto ok = die_with(what->parent); !ok) return ok;
  std::setlocale(LC_CTYPE, "C.UTF-8"); // names in archives
  std::vector<visible_tree> trees;
  for (size_t i = 0; i < what->targets(); ++i) trees.push_back({unique_fd{first_target + static_cast<int>(i)}});
  auto roots = confine(std::move(trees), tree_access::write, what->bytes_max);
  if (!roots) return tl::unexpected{roots.error()};
  if (what->streams) return take_streams(*what);
  return what->backup ? take_backup(*what, std::move(*roots)) : take_image(*what, std::move(*roots));
}

} // namespace
} // namespace troupe::unpack

int main(int count, char** words) {
  using namespace troupe;
  int code = 0;
  try {
    if (auto ok = unpack::run(count, words); !ok) {
      unpack::report::failed(ok.error());
      code = 1;
    }
  } catch (const std::bad_alloc&) {
    unpack::report::failed({fault::too_large, "The archive needs more memory to unpack than it may have"});
    code = 1;
  }
  _exit(code); // nothing to tidy, and a sanitizer's leak check could not run in here
}
