// troupe-unpack: reads the untrusted archives of an image, confined. Started by the daemon only (unpack_call.cpp):
//   troupe-unpack check|unpack unified|split PARENT_PID BYTES_MAX
// Descriptors: 1 report, 2 errors of libraries, 3 the unified or metadata archive, 4 the root archive (split), 5 the
// empty directory to fill (unpack).
#include "backends/image/helper/confine.hpp"
#include "backends/image/helper/disk_sink.hpp"
#include "backends/image/helper/sources.hpp"
#include "backends/image/image_format.hpp"

#include <cerrno>
#include <charconv>
#include <clocale>
#include <new>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::unpack {
namespace {

enum { first_archive = 3, root_archive = 4, target_directory = 5 };

struct order {
  bool to_disk = false;
  bool split = false;
  pid_t parent = 0;
  uint64_t bytes_max = 0;
};

template <class Number>
bool parse(std::string_view text, Number& out) {
  auto [end, e] = std::from_chars(text.data(), text.data() + text.size(), out);
  return e == std::errc{} && end == text.data() + text.size();
}

outcome<order> parse_order(int count, char** words) {
  order out;
  if (count != 5) return fail(fault::invalid, "troupe-unpack is started by the daemon only");
  const std::string_view mode = words[1], form = words[2];
  out.to_disk = mode == "unpack";
  out.split = form == "split";
  if ((!out.to_disk && mode != "check") || (!out.split && form != "unified") || !parse(words[3], out.parent) ||
      !parse(words[4], out.bytes_max))
    return fail(fault::invalid, "troupe-unpack is started by the daemon only");
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
  if (is_tar(*format)) return walk_tar(file, archive_form::rootfs, rules, sink, to);
  return fail(fault::unsupported, "The root file system of the image is neither a tarball nor a squashfs");
}

outcome<void> walk_image(const order& what, tree_sink& sink, unpack_rules& rules) {
  auto first = open_archive(first_archive, 0);
  if (!first) return tl::unexpected{first.error()};
  archive_file second;
  if (what.split) {
    auto opened = open_archive(root_archive, first->size);
    if (!opened) return tl::unexpected{opened.error()};
    second = *opened;
  }
  report to{first->size + second.size};
  const auto form = what.split ? archive_form::metadata : archive_form::unified;
  if (auto ok = walk_tar(*first, form, rules, sink, to); !ok) return ok;
  bool vm_root = false;
  if (what.split) {
    auto format = format_at(second);
    if (!format) return tl::unexpected{format.error()};
    vm_root = *format == image_format::qcow2;
    if (!vm_root)
      if (auto ok = walk_root(second, rules, sink, to); !ok) return ok;
  }
  if (auto ok = rules.finish(!vm_root); !ok) return ok;
  if (what.to_disk && (vm_root || rules.virtual_machine()))
    return fail(fault::unsupported, "Images of virtual machines cannot be unpacked into a directory");
  if (auto ok = sink.finish(); !ok) return ok;
  if (auto* checked = dynamic_cast<check_sink*>(&sink))
    to.image(vm_root || rules.virtual_machine(), checked->metadata());
  to.done();
  return {};
}

outcome<void> run(int count, char** words) {
  auto what = parse_order(count, words);
  if (!what) return tl::unexpected{what.error()};
  if (auto ok = die_with(what->parent); !ok) return ok;
  std::setlocale(LC_CTYPE, "C.UTF-8"); // names in archives
  auto root = confine(unique_fd{what->to_disk ? target_directory : -1}, what->bytes_max);
  if (!root) return tl::unexpected{root.error()};
  unpack_limits limits;
  limits.bytes_max = what->bytes_max;
  unpack_rules rules{limits};
  if (what->to_disk) {
    disk_sink sink{std::move(*root)};
    return walk_image(*what, sink, rules);
  }
  check_sink sink;
  return walk_image(*what, sink, rules);
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
    unpack::report::failed({fault::too_large, "The image needs more memory to unpack than it may have"});
    code = 1;
  }
  _exit(code); // nothing to tidy, and a sanitizer's leak check could not run in here
}
