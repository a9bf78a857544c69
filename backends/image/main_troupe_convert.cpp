// troupe-convert: runs qemu-img, which reads untrusted disks, confined. Started by the daemon only (disk_convert.cpp):
//   troupe-convert PARENT_PID BYTES_MAX FROM TO
// FROM and TO are formats; nothing ever guesses one. Descriptors: 1 report (closed when qemu-img begins: its exit
// status says the rest), 2 complaints, 3 the source, 4 the target, 5 what qemu-img says of its progress.
#include "backends/image/disk_formats.hpp"
#include "backends/image/helper/confine.hpp"
#include "backends/image/helper/confine_program.hpp"
#include "backends/image/helper/report.hpp"

#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <unistd.h>
#include <vector>

namespace troupe::unpack {
namespace {

enum { source_fd = 3, target_fd = 4, progress_fd = 5 };

template <class Number>
bool parse(std::string_view text, Number& out) {
  auto [end, e] = std::from_chars(text.data(), text.data() + text.size(), out);
  return e == std::errc{} && end == text.data() + text.size();
}

outcome<void> execute(std::vector<std::string> words) {
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  char locale[] = "LC_ALL=C", arenas[] = "MALLOC_ARENA_MAX=2"; // many arenas would use up the memory that it may have
  char* environment[] = {locale, arenas, nullptr};
  const int report_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10);
  if (report_fd < 0 || dup2(progress_fd, STDOUT_FILENO) < 0 || close(progress_fd) != 0)
    return fail_errno(errno, "Cannot run qemu-img");
  execve(converter_path, argv.data(), environment);
  const int number = errno;
  dup2(report_fd, STDOUT_FILENO);
  return fail_errno(number, "Cannot run qemu-img");
}

outcome<void> run(int count, char** words) {
  pid_t parent = 0;
  uint64_t bytes_max = 0;
  if (count != 5 || !parse(words[1], parent) || !parse(words[2], bytes_max) || !can_convert_from(words[3]) ||
      !can_convert_to(words[4]))
    return fail(fault::invalid, "troupe-convert is started by the daemon only");
  const std::string from = words[3], to = words[4];
  if (auto ok = die_with(parent); !ok) return ok;
  if (auto ok = confine_converter(unique_fd{source_fd}, unique_fd{target_fd}, bytes_max); !ok) return ok;
  // No backing file, whatever the disk says, and no driver but these two.
  auto source = R"(json:{"driver":")" + from + R"(","backing":null,"file":{"driver":"file","filename":")" +
                source_path + R"("}})";
  std::vector<std::string> line{converter_path, "convert", "-p", "-W", "-O", to};
  if (to == "qcow2") line.push_back("-c");
  line.insert(line.end(), {std::move(source), target_path});
  return execute(std::move(line));
}

} // namespace
} // namespace troupe::unpack

int main(int count, char** words) {
  using namespace troupe;
  auto ok = unpack::run(count, words); // returns only if it failed
  unpack::report::failed(ok.error());
  _exit(1);
}
