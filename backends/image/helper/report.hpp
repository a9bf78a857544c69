#pragma once

#include "messages/error.hpp"

#include <cstdint>
#include <string>

namespace troupe::unpack {

/// A helper's side of the conversation: lines on descriptor 1, read by helper_call.cpp.
///   p DONE TOTAL          progress in bytes of the archives; TOTAL 0: unknown
///   k container|vm        what the image is
///   v SIZE                bytes of the disk of a virtual machine
///   m LENGTH              metadata.yaml, index.yaml or backup.yaml follows, LENGTH bytes
///   e CODE SENTENCE       failed (fault code as a number)
///   d                     done
class report {
public:
  explicit report(uint64_t total) : total_{total} {}
  void read_up_to(uint64_t offset, uint64_t base); // of the archive that starts at `base` in the sum of all
  void read_more(uint64_t bytes);                  // where the sum is not known before
  void kind(bool virtual_machine);
  void disk(uint64_t size);
  void text(const std::string& content);
  void done();
  static void failed(const error& why);

private:
  uint64_t total_;
  uint64_t done_ = 0;
  uint64_t told_ = 0;
};

} // namespace troupe::unpack
