#include "backends/host/virtual_tpm.hpp"

#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <linux/vtpm_proxy.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace troupe {
namespace {

constexpr int patience_ms = 30'000;

bool read_manager(const virtual_tpm& tpm, tpm_numbers& into) {
  std::ifstream in{"/sys/class/tpmrm/tpmrm" + std::to_string(tpm.number) + "/dev"};
  char colon = 0;
  return static_cast<bool>(in >> into.manager_major >> colon >> into.manager_minor);
}

} // namespace

outcome<virtual_tpm> make_virtual_tpm() {
  unique_fd control{::open("/dev/vtpmx", O_RDWR | O_CLOEXEC)};
  if (!control)
    return fail(fault::unsupported, "The kernel of this host has no proxy for TPMs (tpm_vtpm_proxy, /dev/vtpmx)");
  vtpm_proxy_new_dev made{};
  made.flags = VTPM_PROXY_FLAG_TPM2;
  if (::ioctl(control.get(), VTPM_PROXY_IOC_NEW_DEV, &made) < 0) return fail_errno(errno, "Cannot make a TPM");
  virtual_tpm out{unique_fd{static_cast<int>(made.fd)}, made.tpm_num, {}};
  ::fcntl(out.end.get(), F_SETFD, FD_CLOEXEC);
  out.nodes.major = made.major;
  out.nodes.minor = made.minor;
  return out;
}

outcome<tpm_numbers> await_tpm(const virtual_tpm& tpm) {
  auto numbers = tpm.nodes;
  unique_fd watch{::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)};
  // The node comes behind its folder in sysfs.
  if (!watch || ::inotify_add_watch(watch.get(), "/dev", IN_CREATE) < 0) return fail_errno(errno, "Cannot watch /dev");
  for (char events[4096]; !read_manager(tpm, numbers);) {
    pollfd change{watch.get(), POLLIN, 0};
    if (::poll(&change, 1, patience_ms) != 1) return fail(fault::timed_out, "The TPM does not answer the kernel");
    while (::read(watch.get(), events, sizeof events) > 0) {
    }
  }
  return numbers;
}

} // namespace troupe
